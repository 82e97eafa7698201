"""What Grafana would ask Prometheus for a dashboard's panels, asked; and what is wrong with the answers."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
METRIC = re.compile(r"\b(?:assay_|vllm:)\w+|\bup\b")
MAY_BE_EMPTY = frozenset({"task"})
"""Labels that say nothing for some: `/score/segment` has no tasks."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a panel: its name in the legend, and (seconds since 1970, value), of finite values only."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(slots=True)
class Seen:
    """A panel as somebody would see it; faults are sentences."""

    panel: Mapping[str, Any]
    series: list[Series] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    absent: bool = False
    """None of its metrics is measured here."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(one.points for one in self.series)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Where to ask, over which time (seconds since 1970), scraped how often."""

    url: str
    begin_s: float
    end_s: float
    scrape_s: int

    def look(self, dashboard: Mapping[str, Any], measured: Collection[str]) -> list[Seen]:
        """All panels, rows too; ``measured`` names the metrics that have a sample."""
        variables = dict(self._variables(dashboard))
        seen = [self._panel(panel, variables, measured) for panel in dashboard["panels"]]
        for one, other in overlaps(dashboard["panels"]):
            next(each for each in seen if each.panel is one).faults.append(f"overlaps {other['title']!r}")
        return seen

    def _variables(self, dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Each variable at All; RuntimeError where it has no values to choose from."""
        for variable in dashboard["templating"]["list"]:
            asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            if asked is None:
                raise RuntimeError(f"${variable['name']}: no label_values(metric, label)")
            if not self._get(f"label/{asked[2]}/values", {"match[]": asked[1]}):
                raise RuntimeError(f"${variable['name']} has no values")
            yield f"${variable['name']}", variable["allValue"]
        # The datasource's timeInterval is how often it scrapes; over few minutes a step is no longer.
        yield "$__rate_interval", f"{4 * self.scrape_s}s"

    def _panel(
        self, panel: Mapping[str, Any], variables: Mapping[str, str], measured: Collection[str]
    ) -> Seen:
        seen = Seen(panel)
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            try:
                found = self._query(expression, instant=target["instant"])
            except RuntimeError as refused:
                seen.faults.append(f"{target['refId']}: {refused}")
                continue
            for one in found:
                if empty := unfilled(target["legendFormat"], one["metric"]):
                    seen.faults.append(f"no {', '.join(sorted(empty))} for {one['metric']}")
                seen.series.append(series(target["legendFormat"], one))
        names = Counter(one.name for one in seen.series)
        seen.faults += [f"{count} series are called {name!r}" for name, count in names.items() if count > 1]
        if panel["type"] != "row" and seen.empty:
            asked = {name for target in panel["targets"] for name in METRIC.findall(target["expr"])}
            seen.absent = not asked & set(measured)
            if not seen.absent and "noValue" not in panel["fieldConfig"]["defaults"]:
                seen.faults.append("no data, though it is measured")
        return seen

    def _query(self, expression: str, *, instant: bool) -> list[dict[str, Any]]:
        if instant:
            found = self._get("query", {"query": expression, "time": self.end_s})
        else:
            over = {"start": self.begin_s, "end": self.end_s, "step": self.scrape_s}
            found = self._get("query_range", {"query": expression, **over})
        series: list[dict[str, Any]] = found["result"]
        return series

    def _get(self, path: str, parameters: dict[str, Any]) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30, trust_env=False).json()
        if answer["status"] != "success":
            raise RuntimeError(answer["error"])
        return answer["data"]


def series(legend: str, found: Mapping[str, Any]) -> Series:
    """What Prometheus has found, range or instant, with the legend filled in as Grafana does."""
    name = LABEL.sub(lambda label: found["metric"].get(label[1], ""), legend)
    points = found["values"] if "values" in found else [found["value"]]
    numbers = ((at_s, float(value)) for at_s, value in points)
    return Series(name, tuple(point for point in numbers if math.isfinite(point[1])))


def unfilled(legend: str, labels: Mapping[str, str]) -> set[str]:
    """The labels that a legend names and a series lacks."""
    return {name for name in LABEL.findall(legend) if not labels.get(name)} - MAY_BE_EMPTY


def overlaps(panels: list[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Pairs of panels that share a cell of the grid."""
    owners: dict[tuple[int, int], Mapping[str, Any]] = {}
    for panel in panels:
        at = panel["gridPos"]
        cells = [(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])]
        others = {id(owners[cell]): owners[cell] for cell in cells if cell in owners}
        yield from ((panel, other) for other in others.values())
        owners.update(dict.fromkeys(cells, panel))

"""The provisioned dashboard over a real service and a real Prometheus, drawn without Grafana.

    python -m tests.heavy.dashboard --out page.html
    chromium --headless --screenshot=page.png --window-size=1840,4200 page.html

Two replicas, one on the embedded models and one on none, two tenants and a mixed load; Prometheus scrapes as
`docker/prometheus.yml` says, only more often. The expressions of each panel are asked as Grafana asks them, and drawn
where and how `docker/grafana/dashboards/assay.json` says. Exits 1 when a query is refused, panels overlap, a legend
names a label that a series lacks, two series have one name, or a panel is empty although its metric is measured and
nothing says (`noValue`) that this is well. vLLM's own metrics are not measured here.

Needs prometheus.
"""

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from assayd.admission.tenant_file import add_tenant

from ..processes import Process, assayd
from .deployment import DOCKER, prometheus
from .panels.asking import METRIC, Prometheus, Seen
from .panels.drawing import page
from .panels.traffic import SETTINGS, TENANTS, Traffic

DASHBOARD = DOCKER / "grafana" / "dashboards" / "assay.json"
SCRAPE_S = 2


def measured(replicas: list[Process], key: str) -> set[str]:
    """The names of all samples that Prometheus gets, and `up`, which it makes itself."""
    headers = {"Authorization": f"Bearer {key}"}
    return {"up"} | {
        sample.name
        for one in replicas
        for family in text_string_to_metric_families(httpx.get(f"{one.url}/metrics", headers=headers).text)
        for sample in family.samples
    }


def observed(folder: Path, seconds: float, seed: int) -> tuple[list[Seen], float, float, set[str]]:
    """All panels after the load, when it began and ended (seconds since 1970), and what was measured."""
    file = folder / "tenants.toml"
    keys = {tenant: add_tenant(file, tenant, terms) for tenant, terms in TENANTS.items()}
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(
                assayd(folder / name, weightless=weightless, tenants__path=str(file), **SETTINGS)
            )
            for name, weightless in (("models.log", False), ("fakes.log", True))
        ]
        scraper = stack.enter_context(prometheus(folder, replicas, keys["atlas"], SCRAPE_S))
        traffic = Traffic([one.port for one in replicas], keys, seed)
        begin_s = time.time()
        asyncio.run(traffic.run(seconds))
        time.sleep(2 * SCRAPE_S)  # the last calls are scraped
        for what, times in sorted(traffic.statuses.items()):
            print(f"{times:5} calls answered: {what}")
        end_s = time.time()
        names = measured(replicas, keys["atlas"])
        asked = Prometheus(scraper.url, begin_s, end_s, SCRAPE_S)
        return asked.look(json.loads(DASHBOARD.read_text()), names), begin_s, end_s, names


def main() -> None:
    """Load, ask, draw, say what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the page")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen, begin_s, end_s, names = observed(Path(folder), said.seconds, said.seed)
    said.out.write_text(page("Assay", seen, begin_s, end_s), encoding="utf-8")
    used = {
        name
        for one in seen
        for target in one.panel.get("targets", ())
        for name in METRIC.findall(target["expr"])
    }
    for family in sorted({name for name in names if name.startswith("assay_")} - used):
        if not family.endswith(("_created", "_bucket", "_sum", "_count")):
            print(f"on no panel: {family}")
    for one in seen:
        if one.absent:
            print(f"not measured here: {one.panel['title']}")
        for fault in one.faults:
            print(f"FAULT  {one.panel['title']}: {fault}")
    raise SystemExit(any(one.faults for one in seen))


if __name__ == "__main__":
    main()

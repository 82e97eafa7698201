"""Panels drawn as Grafana does, in one HTML page that needs nothing else: its grid, legends and colours."""

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from .asking import Seen, Series
from .units import shown, ticks

PAGE_WIDTH = 1800
COLUMN = PAGE_WIDTH / 24
CELL, GAP = 30, 8
HEADER = 32
AXIS_WIDTH, AXIS_HEIGHT = 64, 20
LEGEND_LINE = 22
LEGEND_SHARE = 0.35
"""Of a panel's height: what does not fit is scrolled."""
PALETTE = (
    "#73bf69 #f2cc0c #8ab8ff #ff780a #f2495c #5794f2 #b877d9 #705da0 #37872d #fade2a #447ebc #c15c17".split()
)
NAMED = {"blue": "#1f60c4", "green": "#1a7f4b", "orange": "#c4621b", "red": "#c4162a"}
STYLE = """
body { background: #111217; color: #ccccdc; font: 12px sans-serif; margin: 16px; }
main { position: relative; }
section, h2 { position: absolute; box-sizing: border-box; margin: 0; overflow: hidden; }
section { background: #181b1f; border: 1px solid #2c2e33; padding: 0 8px; }
section.faulty { border-color: #f2495c; }
h2 { font-size: 16px; font-weight: 500; padding: 4px; }
h3 { font-size: 14px; font-weight: 500; line-height: 32px; margin: 0; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
svg { display: block; }
svg text { fill: #9a9ba3; font-size: 11px; }
.legend { overflow-y: auto; }
table { border-collapse: collapse; width: 100%; }
td, th { line-height: 22px; padding: 0 4px; text-align: right; font-weight: 400; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; width: 99%; max-width: 0; overflow: hidden;
  text-overflow: ellipsis; }
th { color: #6e9fff; }
i { display: inline-block; width: 14px; height: 4px; margin-right: 6px; vertical-align: middle; }
.stats { display: grid; gap: 3px; }
.stats div { color: white; display: flex; flex-direction: column; justify-content: center; overflow: hidden;
  padding: 0 8px; white-space: nowrap; text-overflow: ellipsis; }
.none { display: grid; place-items: center; font-size: 18px; color: #9a9ba3; }
.faults { color: #f2495c; }
"""


def page(title: str, seen: Sequence[Seen], begin_s: float, end_s: float) -> str:
    """The whole dashboard; what is wrong stands at the top."""
    height = max(place(one)[1] + place(one)[3] for one in seen)
    faults = "".join(
        f"<li>{escape(one.panel['title'])}: {escape(fault)}</li>" for one in seen for fault in one.faults
    )
    drawn = "\n".join(drawing(one, begin_s, end_s) for one in seen)
    return (
        f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f'<h1>{escape(title)}</h1><ul class="faults">{faults}</ul>\n'
        f'<main style="width: {PAGE_WIDTH}px; height: {height:.0f}px">{drawn}</main>\n'
    )


def place(one: Seen) -> tuple[float, float, float, float]:
    """Left, top, width and height in pixels."""
    at = one.panel["gridPos"]
    pitch = CELL + GAP
    return at["x"] * COLUMN, at["y"] * pitch, at["w"] * COLUMN - GAP, at["h"] * pitch - GAP


def drawing(one: Seen, begin_s: float, end_s: float) -> str:
    """A panel or the title of a row, where it belongs."""
    left, top, width, height = place(one)
    style = f"left: {left:.0f}px; top: {top:.0f}px; width: {width:.0f}px; height: {height:.0f}px"
    title = escape(one.panel["title"])
    if one.panel["type"] == "row":
        return f'<h2 style="{style}">{title}</h2>'
    inner = (width - 18, height - HEADER - GAP)
    defaults = one.panel["fieldConfig"]["defaults"]
    if one.empty:
        why = defaults.get("noValue", f"no data{': not measured here' if one.absent else ''}")
        body = f'<div class="none" style="height: {inner[1]:.0f}px">{why}</div>'
    elif one.panel["type"] == "stat":
        body = stats(one, *inner)
    elif one.panel["type"] == "state-timeline":
        body = bars(one, *inner, begin_s, end_s)
    else:
        body = timeseries(one, *inner, begin_s, end_s)
    about = escape(one.panel["description"])
    return (
        f'<section class="{"faulty" if one.faults else ""}" style="{style}">'
        f'<h3 title="{about}">{title} <small>(i)</small></h3>{body}</section>'
    )


def timeseries(one: Seen, width: float, height: float, begin_s: float, end_s: float) -> str:
    """Lines, or areas on top of each other, over a legend with the last and the largest value."""
    defaults = one.panel["fieldConfig"]["defaults"]
    unit = defaults["unit"]
    legend_height = min((len(one.series) + 1) * LEGEND_LINE, LEGEND_SHARE * height)
    height -= legend_height
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    lines = stack(one.series) if stacked else [dict(series.points) for series in one.series]
    values = [value for line in lines for value in line.values()]
    low, high = bounds(defaults, values, stacked=stacked)
    across = (width - AXIS_WIDTH) / (end_s - begin_s)
    down = (height - AXIS_HEIGHT - 6) / (high - low)

    def at(point: tuple[float, float]) -> str:
        return f"{AXIS_WIDTH + (point[0] - begin_s) * across:.1f},{6 + (high - point[1]) * down:.1f}"

    parts = [f'<svg width="{width:.0f}" height="{height:.0f}">']
    for tick in ticks(low, high):
        y = 6 + (high - tick) * down
        parts.append(f'<path d="M{AXIS_WIDTH} {y:.1f}H{width:.0f}" stroke="#2c2e33"/>')
        parts.append(
            f'<text x="{AXIS_WIDTH - 6}" y="{y + 4:.1f}" text-anchor="end">{shown(tick, unit)}</text>'
        )
    parts.append(moments(AXIS_WIDTH, width, height - 6, begin_s, end_s))
    fill = defaults["custom"]["fillOpacity"] / 100
    for index, line in enumerate(lines):
        colour = PALETTE[index % len(PALETTE)]
        below = lines[index - 1] if stacked and index else {}
        for run in runs(line):
            path = " ".join(at(point) for point in run)
            floor = " ".join(at((at_s, below.get(at_s, max(low, 0.0)))) for at_s, _ in reversed(run))
            parts.append(f'<polygon points="{path} {floor}" fill="{colour}" fill-opacity="{fill}"/>')
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
            if len(run) == 1 and defaults["custom"]["showPoints"] == "auto":
                left, top = at(run[0]).split(",")
                parts.append(f'<circle cx="{left}" cy="{top}" r="2.5" fill="{colour}"/>')
    return "".join(parts) + "</svg>" + legend(one, unit, legend_height)


def bars(one: Seen, width: float, height: float, begin_s: float, end_s: float) -> str:
    """A row for each series, coloured while it has a value."""
    defaults = one.panel["fieldConfig"]["defaults"]
    names = 7.0 * max(len(series.name) for series in one.series)
    across = (width - names) / (end_s - begin_s)
    pitch = (height - AXIS_HEIGHT) / len(one.series)
    thick = pitch * one.panel["options"]["rowHeight"]
    parts = [f'<svg width="{width:.0f}" height="{height:.0f}">']
    for row, series in enumerate(one.series):
        top = row * pitch + (pitch - thick) / 2
        parts.append(f'<text x="0" y="{row * pitch + pitch / 2 + 4:.1f}">{escape(series.name)}</text>')
        for run in runs(dict(series.points)):
            left, wide = names + (run[0][0] - begin_s) * across, max((run[-1][0] - run[0][0]) * across, 2.0)
            colour = NAMED[look(run[0][1], defaults)[1]]
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{thick:.1f}" fill="{colour}"/>'
            )
    return "".join(parts) + moments(names, width, height - 6, begin_s, end_s) + "</svg>"


def moments(left: float, right: float, y: float, begin_s: float, end_s: float) -> str:
    """The labels of a time axis, every 110 pixels or so."""
    count = int((right - left) // 110)
    parts = []
    for index in range(1, count + 1):
        share = index / (count + 1)
        said = time.strftime("%H:%M:%S", time.localtime(begin_s + share * (end_s - begin_s)))
        x = left + share * (right - left)
        parts.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{said}</text>')
    return "".join(parts)


def bounds(defaults: Mapping[str, Any], values: Sequence[float], *, stacked: bool) -> tuple[float, float]:
    """Of the value axis: what the panel says, or what the values need, never nothing."""
    low = defaults.get("min", min([0.0, *values] if stacked else values))
    high = defaults.get("max", max(values))
    if math.isclose(low, high):
        low, high = (low, low + 1) if "min" in defaults else (low - 0.5, high + 0.5)
    margin = 0.05 * (high - low)
    return (low if "min" in defaults else low - margin), (high if "max" in defaults else high + margin)


def stack(series: Sequence[Series]) -> list[dict[float, float]]:
    """Each on the sum of those before it; where it has no value, it adds nothing."""
    total = {at_s: 0.0 for one in series for at_s, _ in one.points}
    lines = []
    for one in series:
        own = dict(one.points)
        total = {at_s: total[at_s] + own.get(at_s, 0.0) for at_s in sorted(total)}
        lines.append(total)
    return lines


def runs(line: Mapping[float, float]) -> Iterator[list[tuple[float, float]]]:
    """What is joined: a gap of more than a step is left open."""
    points = sorted(line.items())
    step_s = min((late[0] - early[0] for early, late in itertools.pairwise(points)), default=0.0)
    run: list[tuple[float, float]] = []
    for point in points:
        if run and point[0] - run[-1][0] > 1.5 * step_s:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def legend(one: Seen, unit: str, height: float) -> str:
    """A table under the plot; the largest first where the panel says so, which is all that panels say."""
    lines = [
        (series.name, PALETTE[index % len(PALETTE)], [value for _, value in series.points])
        for index, series in enumerate(one.series)
    ]
    if one.panel["options"]["legend"].get("sortBy") == "Max":
        lines.sort(key=lambda line: max(line[2], default=-math.inf), reverse=True)
    rows = "".join(
        f'<tr><td title="{escape(name)}"><i style="background: {colour}"></i>{escape(name)}</td>'
        f"<td>{shown(values[-1], unit) if values else '-'}</td>"
        f"<td>{shown(max(values), unit) if values else '-'}</td></tr>"
        for name, colour, values in lines
    )
    return (
        f'<div class="legend" style="height: {height:.0f}px"><table>'
        f"<tr><th>Name</th><th>Last *</th><th>Max</th></tr>{rows}</table></div>"
    )


def stats(one: Seen, width: float, height: float) -> str:
    """Tiles, as many side by side as makes them largest."""
    tiles = [(series.name, series.points[-1][1]) for series in one.series if series.points]
    across = columns(len(tiles), width, height)
    tile_width, tile_height = width / across, height / math.ceil(len(tiles) / across)
    defaults = one.panel["fieldConfig"]["defaults"]
    drawn = "".join(tile(name, value, defaults, tile_width, tile_height) for name, value in tiles)
    return (
        f'<div class="stats" style="height: {height:.0f}px; grid-template-columns: repeat({across}, 1fr)">'
        f"{drawn}</div>"
    )


def columns(count: int, width: float, height: float) -> int:
    """Side by side: that number whose tiles hold the largest squares."""
    return max(
        range(1, count + 1),
        key=lambda across: min(width / across, height / math.ceil(count / across)),
    )


def tile(name: str, value: float, defaults: Mapping[str, Any], width: float, height: float) -> str:
    """A value in its colour."""
    text, colour = look(value, defaults)
    size = min(height / 4, 1.6 * (width - 16) / max(len(name), 1), 24.0)
    large = min(height / 2.5, 1.6 * (width - 16) / max(len(text), 1), 48.0)
    return (
        f'<div title="{escape(name)}" style="background: {NAMED[colour]}">'
        f'<span style="font-size: {size:.0f}px">{escape(name)}</span>'
        f'<b style="font-size: {large:.0f}px">{escape(text)}</b></div>'
    )


def look(value: float, defaults: Mapping[str, Any]) -> tuple[str, str]:
    """Text and colour: of its mapping, or else itself and that of the highest threshold that it reaches."""
    mapped = {
        key: said for mapping in defaults.get("mappings", ()) for key, said in mapping["options"].items()
    }.get(f"{value:g}", {})
    reached = [
        step["color"]
        for step in defaults["thresholds"]["steps"]
        if step["value"] is None or value >= step["value"]
    ]
    return mapped.get("text", shown(value, defaults["unit"])), mapped.get("color", reached[-1])

"""What the drawn dashboard says of a number, a legend and a grid."""

import pytest

from .panels.asking import overlaps, series, unfilled
from .panels.units import shown, ticks


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5, "percentunit", "50%"),
        (0.0047, "s", "4.7 ms"),
        (90.0, "s", "1.5 min"),
        (0.0, "s", "0 s"),
        (2430.0, "short", "2.43 K"),
        (0.1949, "reqps", "0.195 req/s"),
        (-30.84, "none", "-30.8"),
        (1234.0, "none", "1234"),
    ],
)
def test_numbers_are_written_in_their_unit(value: float, unit: str, text: str) -> None:
    """With three digits that say something."""
    assert shown(value, unit) == text


def test_an_axis_has_round_ticks() -> None:
    """Within what it shows."""
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(-21.0, 33.0) == [-20.0, 0.0, 20.0]


def test_a_legend_is_filled_in_and_says_what_it_lacks() -> None:
    """A task may be empty; values that are no numbers are left out."""
    metric = {"tenant": "atlas", "method": "segment"}
    found = {"metric": metric, "values": [[1.0, "NaN"], [3.0, "0.5"]]}
    assert series("{{tenant}} {{method}} {{task}}", found).name == "atlas segment "
    assert series("{{tenant}}", found).points == ((3.0, 0.5),)
    assert unfilled("{{tenant}} {{task}}", metric) == set()
    assert unfilled("{{tenant}} {{status}}", {"status": "401"}) == {"tenant"}


def test_panels_on_one_cell_are_found() -> None:
    """Those that only touch are not."""
    wide = {"title": "wide", "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8}}
    beside = {"title": "beside", "gridPos": {"x": 12, "y": 0, "w": 12, "h": 8}}
    below = {"title": "below", "gridPos": {"x": 11, "y": 7, "w": 12, "h": 8}}
    assert list(overlaps([wide, beside])) == []
    assert {(one["title"], other["title"]) for one, other in overlaps([wide, beside, below])} == {
        ("below", "wide"),
        ("below", "beside"),
    }

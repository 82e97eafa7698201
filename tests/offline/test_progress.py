"""What a person sees of a run."""

import io

import pytest
from rich.console import Console

from assayd.offline.progress import Teller


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


def test_without_a_terminal_there_is_a_plain_line_every_ten_seconds(clock: Clock) -> None:
    """Rows, rate, failures, waits and time left; the rate is of this run, not of those before it."""
    shown = io.StringIO()
    with Teller(Console(file=shown, width=40), "annotate", rows=10_000, done=4000, clock=clock) as teller:
        for _ in range(30):
            clock.now_s += 1
            teller.advance(100, 1, 2)
        clock.now_s += 30
        teller.advance(3000, 0, 2)
    assert shown.getvalue().splitlines() == [
        "annotate: 5,000/10,000 rows, 100.0 rows/s, 10 failed, waited 2 times, 0:50 left",
        "annotate: 6,000/10,000 rows, 100.0 rows/s, 20 failed, waited 2 times, 0:40 left",
        "annotate: 7,000/10,000 rows, 100.0 rows/s, 30 failed, waited 2 times, 0:30 left",
        "annotate: 10,000/10,000 rows, 100.0 rows/s, 30 failed, waited 2 times",
    ]


def test_on_a_terminal_there_is_a_bar(clock: Clock) -> None:
    """With the same numbers."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=160)
    with Teller(console, "annotate", rows=400, done=0, clock=clock) as teller:
        clock.now_s += 2
        teller.advance(100, 3, 0)
    last = shown.getvalue()
    for part in ("annotate", "100/400", "50.0 rows/s", "3 failed"):
        assert part in last


def test_long_times_have_hours(clock: Clock) -> None:
    """And nothing is told where nothing has been done yet."""
    shown = io.StringIO()
    with Teller(Console(file=shown, width=40), "retry", rows=100_000, done=0, clock=clock) as teller:
        clock.now_s += 10
        teller.advance(100, 0, 0)
    first, *_ = shown.getvalue().splitlines()
    assert first == "retry: 100/100,000 rows, 10.0 rows/s, 0 failed, 2:46:30 left"
    idle = io.StringIO()
    with Teller(Console(file=idle, width=40), "annotate", rows=5, done=0, clock=clock):
        pass
    assert idle.getvalue() == "annotate: 0/5 rows, 0 failed\n"

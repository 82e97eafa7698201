"""Hosted models are asked their canary while a service runs, and answers are compared within rounding."""

import asyncio
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.domain.provenance import ModelRef
from assayd.engines import fake
from assayd.health.canaries import TOLERANCE, Canaries, Known, difference
from assayd.health.questions import Answer
from assayd.health.watch import Watch
from assayd.telemetry import Telemetry


def _watch(engine: fake.SegmentScorer, canaries: Canaries, interval_s: float = 3600) -> Watch:
    return Watch({"segment": engine}, canaries, interval_s=interval_s, telemetry=Telemetry())


async def test_an_activation_that_crept_in_is_found() -> None:
    """A model that answers with the sigmoid of its score lives, and is not what it was."""
    canaries = Canaries(None)
    raw = fake.SegmentScorer()
    squashed = fake.SegmentScorer(rule=lambda texts: [1 / (1 + math.exp(-len(text) / 10)) for text in texts])
    async with _watch(raw, canaries) as watch:
        assert await watch.complaints() == {"segment": None}
    async with _watch(squashed, canaries) as watch:
        assert "(weights, activation)" in str((await watch.complaints())["segment"])


async def test_a_model_that_changes_under_a_running_service_is_found() -> None:
    """The periodic canary sees it; once the model is itself again, the next one clears it."""
    scorer = fake.SegmentScorer()
    async with _watch(scorer, Canaries(None), interval_s=0.01) as watch:
        assert await watch.complaints() == {"segment": None}
        honest, scorer._rule = scorer._rule, lambda texts: [9.0 for _ in texts]
        await _until(watch, sound=False)
        scorer._rule = honest
        await _until(watch, sound=True)


async def _until(watch: Watch, *, sound: bool) -> None:
    give_up_at_s = time.monotonic() + 20
    while ((await watch.complaints())["segment"] is None) is not sound:
        assert time.monotonic() < give_up_at_s
        await asyncio.sleep(0.01)


@given(
    numbers=st.sampled_from(sorted(TOLERANCE)),
    expected=st.floats(-50, 50),
    share=st.floats(-3, 3).filter(lambda share: abs(abs(share) - 1) > 0.01),
)
def test_rounding_is_no_difference_and_more_is(numbers: str, expected: float, share: float) -> None:
    """Numbers may differ by what their width makes of them, and not by more."""
    model = ModelRef("some", "1", f"transformers {numbers} strict")
    seen = expected + share * TOLERANCE[numbers] * max(1.0, abs(expected))
    known = Known("1", {"score": Answer("8 tokens", (expected,))})
    told = difference(model, known, {"score": Answer("8 tokens", (seen,))})
    assert (told is None) is (abs(share) < 1)


def test_a_file_that_is_no_canary_file_is_refused(tmp_path: Path) -> None:
    """At the start, with what is wrong."""
    other = tmp_path / "settings.json"
    other.write_text('{"format": "something/1"}')
    with pytest.raises(ValueError, match="something/1"):
        Canaries(other)
    with pytest.raises(ValueError, match="there is no folder"):
        Canaries(tmp_path / "away" / "canaries.json")

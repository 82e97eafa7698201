"""Drift: the arithmetic against its definition, and the alarms through the front door."""

import math
import re
import statistics
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from assayd.app import create_app
from assayd.moments import SlidingMoments
from assayd.settings import EngineName, Settings

WINDOW = 20
FAKE = {"engine": EngineName.FAKE}

numbers = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3))


@given(st.lists(st.tuples(numbers, st.integers(1, 4096)), min_size=1, max_size=200), st.integers(1, 40))
def test_what_is_kept_up_to_date_is_what_would_be_reckoned_anew(
    pairs: list[tuple[float, int]], size: int
) -> None:
    """Means, spreads and correlation of the last pairs, however many have passed through."""
    sliding = SlidingMoments(size)
    for pair in pairs:
        sliding.add(*pair)
    recent = pairs[-size:]
    xs, ys = [x for x, _ in recent], [float(y) for _, y in recent]
    now = sliding.moments()
    assert len(sliding) == len(recent)
    assert math.isclose(now.mean_x, statistics.fmean(xs), rel_tol=1e-6, abs_tol=1e-6)
    assert math.isclose(now.mean_y, statistics.fmean(ys), rel_tol=1e-6, abs_tol=1e-6)
    assert math.isclose(now.std_x, statistics.pstdev(xs), rel_tol=1e-3, abs_tol=1e-2)
    assert math.isclose(now.std_y, statistics.pstdev(ys), rel_tol=1e-3, abs_tol=1e-2)
    assert -1 <= now.correlation <= 1
    if min(statistics.pstdev(xs), statistics.pstdev(ys)) > 0.5:
        assert math.isclose(now.correlation, statistics.correlation(xs, ys), abs_tol=1e-2)


def test_a_spread_of_nothing_is_nothing() -> None:
    """Equal rewards after unequal ones, for long enough that rounding would show."""
    sliding = SlidingMoments(10)
    for number in range(10_000):
        sliding.add(math.sin(number) * 1e6, number)
    for _ in range(200):
        sliding.add(0.1, 7)
    assert (sliding.moments().std_x, sliding.moments().correlation) == (0.0, 0.0)


def words_of(text: str) -> list[tuple[int, int]]:
    """Each word, with the space behind it, is a token."""
    return [match.span() for match in re.finditer(r"\S+ ?", text)]


class Service:
    """One whose segment model pays a tenth of the characters, and what it says of its rewards."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def score(self, *texts: str) -> None:
        """Have completions paid."""
        rollouts = [{"completion": {"text": text, "offsets": words_of(text)}} for text in texts]
        body = {"method": "segment", "rollouts": rollouts, "options": {"normalizer": "none"}}
        answer = self._client.post("/score/segment", json=body)
        assert answer.status_code == 200, answer.text
        assert all(result["status"] == "ok" for result in answer.json()["results"]), answer.text

    def told(self) -> dict[str, float]:
        """Gauges by name; alarms by theirs."""
        text = self._client.get("/metrics").text
        told = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.startswith("assay_reward_"):
                    assert (sample.labels["tenant"], sample.labels["method"]) == ("open", "segment")
                    told[sample.labels.get("alarm", sample.name.removeprefix("assay_reward_"))] = sample.value
        return told

    def alarms(self) -> set[str]:
        """Those that are on."""
        told = self.told()
        return {name for name in ("collapse", "saturation", "length_hacking") if told[name]}


@pytest.fixture
def service(serve_app: Any) -> Any:
    """With a window of few rollouts."""
    engines = dict.fromkeys(("critic", "rewriter", "segment", "sequence"), FAKE)
    app = create_app(Settings(**engines, drift={"window": WINDOW}))
    with serve_app(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield Service(client)


def mixed(number: int) -> str:
    """A completion of four words, some of them long: what it earns has nothing to do with its number of tokens."""
    return " ".join(["no", "yes", "maybe", "certainly"][(number * step) % 4] for step in (1, 2, 3, 5))


def test_the_figures_are_those_of_the_window(service: Any) -> None:
    """Of the last rollouts, per tenant, method and task."""
    service.score(("word " * 4).strip(), ("word " * 8).strip())
    told = service.told()
    assert told["sign_balance"] == 1.0
    assert told["zero_rate"] == 0.0
    assert told["length_correlation"] == pytest.approx(1.0)
    assert told["mean"] > 0
    service.score(*(mixed(number) for number in range(WINDOW)))
    assert service.told()["length_mean"] == 4.0


def test_rewards_that_say_nothing_are_a_collapse(service: Any) -> None:
    """All alike; and no longer once they differ again."""
    service.score(*(mixed(number) for number in range(WINDOW)))
    assert service.alarms() == set()
    service.score(*["the very same"] * WINDOW)
    assert "collapse" in service.alarms()
    service.score(*(mixed(number) for number in range(WINDOW)))
    assert "collapse" not in service.alarms()


def test_rewards_at_one_end_are_a_saturation(service: Any) -> None:
    """High, and hardly different from each other any more."""
    service.score(*(mixed(number) for number in range(WINDOW)))
    service.score(*("incomprehensibilities " * 4 + "ab"[: 1 + number % 2] for number in range(WINDOW)))
    assert "saturation" in service.alarms()


def test_rewards_that_follow_length_while_it_grows_are_an_alarm(service: Any) -> None:
    """Correlation alone is not: longer answers may be better ones. Growth with it is."""
    service.score(*("word " * (4 + number % 3) for number in range(WINDOW)))
    assert service.told()["length_correlation"] > 0.9
    assert service.alarms() == set()
    service.score(*("word " * (10 + number) for number in range(WINDOW)))
    assert service.alarms() == {"length_hacking"}

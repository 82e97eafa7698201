"""What waits for an engine: who leaves makes room, who would be late is told so at once."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.doorkeeper import HOLDS_S
from assayd.settings import EngineName, EngineSettings, Settings

WEIGHTLESS = {"segment": {"engine": EngineName.FAKE}, "rewriter": {"engine": EngineName.FAKE}}


def body(*prompts: str, timeout_s: float = 30) -> dict[str, Any]:
    """A call with one rollout per prompt."""
    item = {"completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}
    rollouts = [{**item, "prompt": prompt} for prompt in prompts]
    return {"task": "relc-toxicity", "rollouts": rollouts, "timeout_s": timeout_s}


class Service:
    """A service whose critic takes one question at a time, and that critic."""

    def __init__(self, url: str, critic: Any) -> None:
        self.critic = critic
        self.client = httpx.Client(base_url=url, timeout=60)

    def judge(self, *prompts: str, timeout_s: float = 30) -> httpx.Response:
        """One call."""
        return self.client.post("/score/token", json=body(*prompts, timeout_s=timeout_s))

    def outcomes(self, *prompts: str, timeout_s: float = 30) -> list[str]:
        """``ok`` or the kind of failure of each rollout."""
        results = self.judge(*prompts, timeout_s=timeout_s).json()["results"]
        return [result.get("failure", {}).get("kind", "ok") for result in results]

    def waiting(self) -> int:
        """How many questions wait for the critic, by the metrics."""
        found = re.search(
            r'^assay_queue_requests\{engine="critic",tenant="open"\} (\S+)$',
            self.client.get("/metrics").text,
            re.MULTILINE,
        )
        return 0 if found is None else int(float(found[1]))

    def refused(self) -> int:
        """How many calls to judge tokens were answered 503, by the metrics."""
        told = self.client.get("/metrics").text
        found = re.search(
            r'^assay_requests_total\{route="/score/token",status="503",tenant="open"\} (\S+)$',
            told,
            re.MULTILINE,
        )
        return 0 if found is None else int(float(found[1]))

    def until_waiting(self, count: int) -> None:
        """Wait until so many do."""
        give_up_at_s = time.monotonic() + 20
        while self.waiting() != count:
            assert time.monotonic() < give_up_at_s, f"{self.waiting()} wait, not {count}"
            time.sleep(0.02)

    def hang_up_after(self, seconds: float, prompt: str) -> None:
        """Call, and lose patience."""
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{self.client.base_url}/score/token", json=body(prompt), timeout=seconds)


@pytest.fixture
def narrow(serve_app: Callable[[object], AbstractContextManager[str]], critic: Any) -> Iterator[Service]:
    """A service whose critic answers one question at a time."""
    own = type(critic)()
    with serve_app(own) as critic_url:
        asked = EngineSettings(
            engine=EngineName.OPENAI, model="scripted", base_url=f"{critic_url}/v1", max_in_flight=1
        )
        with serve_app(create_app(Settings(critic=asked, **WEIGHTLESS))) as url:
            service = Service(url, own)
            yield service
            service.client.close()


def test_who_hangs_up_frees_the_place_in_line_and_the_engine(narrow: Service) -> None:
    """Neither what waits nor what is under way outlives its caller."""
    narrow.critic.delay_s = 20.0
    with ThreadPoolExecutor(2) as callers:
        asking = callers.submit(narrow.hang_up_after, 5, "asks")
        while not narrow.critic.prompts:
            time.sleep(0.01)
        waits = callers.submit(narrow.hang_up_after, 2, "waits")
        narrow.until_waiting(1)
        waits.result()
        narrow.until_waiting(0)
        asking.result()
    narrow.critic.delay_s = 0.0
    assert narrow.outcomes("next") == ["ok"]
    assert not any("waits" in prompt for prompt in narrow.critic.prompts)


def test_what_is_done_by_the_deadline_is_answered(narrow: Service) -> None:
    """The others of the call are ``past_deadline``, and wait no more."""
    narrow.critic.delay_s = 0.5
    outcomes = narrow.outcomes(*map(str, range(12)), timeout_s=2.2)
    done = outcomes.count("ok")
    assert 1 <= done <= 4
    assert outcomes.count("past_deadline") == 12 - done
    assert narrow.waiting() == 0


def _refused_unread(narrow: Service) -> int:
    """The status of a call that says nothing to judge, right behind one that was refused.

    It is counted like any other call to its route; who asks for another method there is looked at.
    """
    assert narrow.judge("late", timeout_s=2).status_code == 503
    assert narrow.client.get("/score/token", headers={"X-Assay-Timeout-S": "2"}).status_code == 405
    before = narrow.refused()
    nothing = narrow.client.post("/score/token", json={"timeout_s": 2}).status_code
    assert narrow.refused() - before == (nothing == 503)
    assert narrow.client.post("/score/token", json={"method": "grm", "timeout_s": 2}).status_code == 422
    return nothing


def test_who_would_be_late_is_told_at_once(narrow: Service) -> None:
    """503 and when to come again, while a caller who has the time is let in; what fits of a call is judged."""
    narrow.critic.delay_s = 0.4
    busy = threading.Thread(target=narrow.judge, args=[f"first {index}" for index in range(24)])
    busy.start()
    while len(narrow.critic.prompts) < 5:
        time.sleep(0.01)
    began_s = time.monotonic()
    refused = narrow.judge("late", timeout_s=2)
    assert (refused.status_code, refused.json()["kind"]) == (503, "overloaded")
    assert time.monotonic() - began_s < 1.5
    assert 2 <= int(refused.headers["Retry-After"]) <= 20
    time.sleep(1.2 * HOLDS_S)  # so that it is read
    unprepared = body("late", "late", timeout_s=2)
    unprepared["rollouts"][0]["completion"] = {"text": "you rat", "offsets": [[0, 99]]}
    assert narrow.client.post("/score/token", json=unprepared).status_code == 503
    assert 503 in {_refused_unread(narrow) for _ in range(10)}
    assert narrow.outcomes("patient", timeout_s=30) == ["ok"]
    busy.join()
    assert not any("late" in prompt for prompt in narrow.critic.prompts)
    outcomes = narrow.outcomes(*(f"many {index}" for index in range(20)), timeout_s=3)
    assert outcomes.count("overloaded") >= 8
    assert outcomes.count("ok") >= 3
    refusals = re.search(
        r"^assay_queue_refused_total\{.*critic.*open.*\} (\S+)$", narrow.client.get("/metrics").text, re.M
    )
    assert refusals is not None
    assert float(refusals[1]) >= outcomes.count("overloaded")

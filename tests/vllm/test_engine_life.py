"""The engine's process dies, is started again, sleeps and wakes, while the service goes on: over HTTP, for real."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest

from assayd.engines import POCKET_REWRITER, POCKET_SEGMENT

from ..processes import Process, assayd

IN_FLIGHT = 200
TIMEOUT_S = 60
AT_ONCE_S = 10.0
"""Within which every call under way is answered when the engine dies; a start takes more than twice as long."""
START_S = 240.0
AFTER_THE_END_S = 10.0
"""Within which all that the service started has ended, too."""
TOLERANCE = 1e-4


@dataclass
class Service:
    """``assayd serve`` in a process of its own, and a way to ask it."""

    process: Process
    client: httpx.Client

    @property
    def engines(self) -> list[psutil.Process]:
        """The processes of its engines."""
        return [one for one in self.processes if "EngineCore" in one.name()]

    @property
    def processes(self) -> list[psutil.Process]:
        """All that it started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def ready(self) -> bool:
        """Whether ``/readyz`` is green."""
        return self.client.get("/readyz").status_code == 200

    def until(self, ready: bool, patience_s: float) -> float:
        """Wait until ``/readyz`` is green, or red; the seconds that took."""
        began = time.monotonic()
        while self.ready() is not ready:
            assert time.monotonic() - began < patience_s, self.client.get("/readyz").text
            assert self.process.runs, "the service itself ended"
            time.sleep(0.02)
        return time.monotonic() - began

    def metric(self, name: str, engine: str) -> float:
        """What a metric says of an engine."""
        text = self.client.get("/metrics").text
        (sample,) = re.findall(rf'^{name}{{engine="{engine}"}} (\S+)$', text, re.MULTILINE)
        return float(sample)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The embedded segment model and rewriter, hosted by vLLM on CPU; both may sleep."""
    engine = {"sleep_mode": True, "engine_args": {"enforce_eager": True}}
    settings = {
        f"{role}__{name}": value
        for role, model in (("segment", POCKET_SEGMENT), ("rewriter", POCKET_REWRITER))
        for name, value in {"engine": "vllm", "model": model, "vllm": json.dumps(engine)}.items()
    }
    log = tmp_path_factory.mktemp("service") / "log"
    with assayd(log, **settings) as process, httpx.Client(base_url=process.url, timeout=TIMEOUT_S) as client:
        served = Service(process, client)
        yield served
        started = served.processes if process.runs else []
        process.end(within_s=60)
        # Some end by reading that the service has ended: Python's tracker of shared memory, for one.
        _, left = psutil.wait_procs(started, timeout=AFTER_THE_END_S)
        assert not [one for one in left if not _zombie(one)], "processes are left"


def _zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def body(number: int, run: str) -> dict[str, Any]:
    """A rollout of some 400 tokens; ``run`` keeps one run's answers out of the other's cache."""
    text = " ".join(f"Step {step}: {step + number} + {step} = {2 * step + number}." for step in range(12))
    rollout = {
        "id": str(number),
        "prompt": f"Count from {number}.",
        "completion": {"text": text},
        "reference": run,
    }
    options = {"boundary_mode": "token", "normalizer": "none"}
    return {"method": "segment", "rollouts": [rollout], "options": options, "timeout_s": TIMEOUT_S}


async def asked_at_once(service: Service, run: str, kill_after: int | None = None) -> list[httpx.Response]:
    """``IN_FLIGHT`` calls at once; after ``kill_after`` answers the engines' processes are killed."""
    answered = 0
    killed = asyncio.Event()
    limits = httpx.Limits(max_connections=IN_FLIGHT)
    async with httpx.AsyncClient(
        base_url=service.process.url, timeout=TIMEOUT_S + 10, limits=limits
    ) as client:

        async def one(number: int) -> httpx.Response:
            nonlocal answered
            response = await client.post("/score/segment", json=body(number, run))
            answered += 1
            if answered == kill_after:
                for engine in service.engines:
                    engine.kill()
                killed.set()
            return response

        calls = [asyncio.create_task(one(number)) for number in range(IN_FLIGHT)]
        if kill_after is not None:
            await killed.wait()
            _, hung = await asyncio.wait(calls, timeout=AT_ONCE_S)
            assert not hung, f"{len(hung)} of {IN_FLIGHT} calls still wait {AT_ONCE_S} s behind the death"
        return await asyncio.gather(*calls)


def test_the_engine_is_killed_under_two_hundred_calls(service: Service) -> None:
    """Each is answered at once, by its reward or by 503 with Retry-After; the service is ready again by itself."""
    before = len(service.processes)
    assert len(service.engines) == 2
    responses = asyncio.run(asked_at_once(service, "killed", kill_after=40))
    assert not service.ready()
    assert service.client.get("/healthz").status_code == 200
    assert service.metric("assay_engine_up", "segment") == 0
    assert service.metric("assay_engine_up", "critic") == 1
    told = service.client.post("/score/segment", json=body(0, "at the door"))
    assert (told.status_code, told.json()["kind"]) == (503, "engine")
    assert 1 <= int(told.headers["Retry-After"]) <= START_S

    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 40
    refused = [response for response in responses if response.status_code == 503]
    assert all(response.json()["kind"] == "engine" for response in refused)
    assert all(int(response.headers["Retry-After"]) >= 1 for response in refused)

    took_s = service.until(ready=True, patience_s=START_S)
    print(f"{statuses.count(200)} judged, {len(refused)} refused, ready again after {took_s:.1f} s")
    assert service.metric("assay_engine_up", "segment") == 1
    assert service.metric("assay_engine_restarts_total", "segment") == 1
    assert service.metric("assay_engine_restarts_total", "grm") == 1
    assert len(service.processes) == before
    calm = asyncio.run(asked_at_once(service, "calm"))
    assert {response.status_code for response in calm} == {200}
    for number, (one, other) in enumerate(zip(responses, calm, strict=True)):
        if one.status_code == 200:
            (mine,), (theirs,) = one.json()["results"], other.json()["results"]
            assert mine["status"] == "ok", mine
            assert mine["id"] == str(number)
            assert mine["rewards"] == pytest.approx(theirs["rewards"], abs=TOLERANCE)


def test_a_call_that_needs_no_engine_is_answered_while_it_is_down(service: Service) -> None:
    """What was judged before comes from the cache; of a mixed call each rollout says for itself."""
    known = service.client.post("/score/segment", json=body(1, "known")).json()["results"][0]
    for engine in service.engines:
        engine.kill()
    service.until(ready=False, patience_s=AT_ONCE_S)
    again = service.client.post("/score/segment", json=body(1, "known"))
    assert again.status_code == 200
    assert again.json()["results"][0]["rewards"] == known["rewards"]
    mixed = body(1, "known")
    mixed["rollouts"] += body(2, "unknown")["rollouts"]
    answer = service.client.post("/score/segment", json=mixed)
    assert answer.status_code == 200
    assert [result["status"] for result in answer.json()["results"]] == ["ok", "failed"]
    assert answer.json()["results"][1]["failure"]["kind"] == "engine"
    assert service.client.post("/score/token", json=critic_body()).status_code == 200
    service.until(ready=True, patience_s=START_S)


def critic_body() -> dict[str, Any]:
    """A call that other models answer."""
    rollout = {"prompt": "Say hello.", "completion": {"text": "Hello."}}
    return {"method": "critic", "task": "relc-toxicity", "rollouts": [rollout]}


def test_engines_sleep_and_wake(service: Service) -> None:
    """As vLLM's own routes have it: asleep they refuse with Retry-After, and answer again as before."""
    first = service.client.post("/score/segment", json=body(3, "awake")).json()["results"][0]["rewards"]
    assert service.client.get("/is_sleeping").json() == {"is_sleeping": False}
    assert service.client.post("/sleep", params={"level": 3}).status_code == 422
    assert service.client.post("/sleep", params={"level": 1}).json() == {"is_sleeping": True}
    assert not service.ready()
    refused = service.client.post("/score/segment", json=body(3, "asleep"))
    assert (refused.status_code, refused.json()["kind"]) == (503, "engine")
    assert "wake_up" in refused.json()["detail"]
    assert service.client.post("/wake_up").json() == {"is_sleeping": False}
    assert service.ready()
    woken = service.client.post("/score/segment", json=body(3, "woken")).json()["results"][0]["rewards"]
    assert woken == pytest.approx(first, abs=TOLERANCE)


def test_an_engine_that_dies_asleep_is_started_when_it_is_woken(service: Service) -> None:
    """Until then the memory stays free."""
    service.client.post("/sleep")
    for engine in service.engines:
        engine.kill()
    time.sleep(1.0)
    assert service.client.get("/is_sleeping").json() == {"is_sleeping": True}
    assert not service.engines
    service.client.post("/wake_up")
    service.until(ready=True, patience_s=START_S)
    assert service.client.post("/score/segment", json=body(4, "woken")).status_code == 200


def test_vllm_counts_under_its_own_names(service: Service) -> None:
    """Two engines in one process, each with its metrics, told apart by the model's name."""
    service.client.post("/score/segment", json=body(5, "counted"))
    text = service.client.get("/metrics").text
    assert text.count("# TYPE vllm:prompt_tokens_total counter") == 1
    for folder in (POCKET_SEGMENT, POCKET_REWRITER):
        assert re.search(rf'vllm:num_requests_running{{[^}}]*model_name="{re.escape(str(folder))}"', text)
    models = service.client.get("/info").json()["models"]
    assert models["segment"]["engine"] == "vllm float32"
    assert models["rewriter"]["engine"] == "vllm float32"

"""Facts about gathering: hundreds of single calls become few requests, and nobody gets another's answer."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import assay
from assay.testing import FakeServer

TOXIC = "relc-toxicity"
Gather = Callable[..., list[Any]]


def own_number(rollout: Any, tokens: int) -> list[float]:
    """What tells one rollout's rewards from another's."""
    return [float(rollout["id"][1:])] * tokens


@pytest.fixture(params=["threads", "tasks"])
def gather(request: pytest.FixtureRequest, server: FakeServer) -> Gather:
    """``gather(jobs, **settings)``: every job is ``(method, rollout, asked)``, all at once; results or errors."""

    def in_threads(jobs: list[Any], **settings: Any) -> list[Any]:
        with server.client() as client, ThreadPoolExecutor(len(jobs)) as threads:
            coalescer = assay.Coalescer(client, **settings)
            futures = [threads.submit(getattr(coalescer, name), item, **asked) for name, item, asked in jobs]
            return [future.exception() or future.result() for future in futures]

    def in_tasks(jobs: list[Any], **settings: Any) -> list[Any]:
        async def ask() -> list[Any]:
            async with server.async_client() as client:
                coalescer = assay.AsyncCoalescer(client, **settings)
                calls = [getattr(coalescer, name)(item, **asked) for name, item, asked in jobs]
                return await asyncio.gather(*calls, return_exceptions=True)

        return asyncio.run(ask())

    return in_threads if request.param == "threads" else in_tasks


def job(at: int, route: str = "score_token", **asked: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """One call for the rollout named by its number."""
    if route == "score_token":
        asked = {"task": TOXIC, **asked}
    return route, {"id": f"r{at}", "completion": {"text": "you rat"}}, asked


def test_hundreds_of_calls_become_few_requests(server: FakeServer, gather: Gather) -> None:
    """Three hundred samples make a tenth as many requests at most, and each caller gets its own numbers."""
    server.reward = own_number
    results = gather([job(at) for at in range(300)], max_rollouts=50, window_s=0.02)
    assert [result.id for result in results] == [f"r{at}" for at in range(300)]
    assert [result.rewards for result in results] == [(float(at), float(at)) for at in range(300)]
    assert len(server.rollouts) == 300
    assert len(server.received) <= 30
    assert max(len(one.body["rollouts"]) for one in server.received) <= 50


def test_what_is_asked_differently_is_never_mixed(server: FakeServer, gather: Gather) -> None:
    """Route, method, task, options, tokenizer, pin: each makes requests of its own."""
    kinds: list[dict[str, Any]] = [
        {},
        {"task": "remarks"},
        {"options": {"negative_reward": -1.0}},
        {"tokenizer": {"name": "t"}},
        {"mode": "compat"},
        {"method": "grm", "task": None},
        {"timeout_s": 30.0},
    ]
    jobs = [job(10 * at + kind, **asked) for at in range(6) for kind, asked in enumerate(kinds)]
    jobs += [job(10 * at + 8, "score_segment") for at in range(6)] + [
        job(10 * at + 9, "rewrite") for at in range(6)
    ]
    results = gather(jobs, window_s=0.2)
    assert [result.id for result in results] == [item["id"] for _, item, _ in jobs]
    assert isinstance(results[-1], assay.Rewritten)
    assert len(server.received) == len(kinds) + 2
    for one in server.received:
        assert len({rollout["id"][-1] for rollout in one.body["rollouts"]}) == 1


def test_each_caller_gets_its_own_failure_and_its_own_error(server: FakeServer, gather: Gather) -> None:
    """One rollout that fails costs no other; a refused request is an error to each of its callers, not a shared one."""
    server.fail("r1", "empty")
    good, bad, raised = gather([job(0), job(1), job(1, raise_on_failure=True)], window_s=0.2)
    assert isinstance(good, assay.Scored)
    assert (bad.kind, raised.kind) == ("empty", "empty")
    assert isinstance(raised, assay.RolloutFailed)
    assert len(server.received) == 1
    first, second = gather([job(0, task="poetry"), job(1, task="poetry")], window_s=0.2)
    assert isinstance(first, assay.CallRejected)
    assert (first.status, first.pointer, str(first)) == (second.status, second.pointer, str(second))
    assert first is not second
    server.refuse(503, "engine")
    skipped = gather([job(0, on_refusal="fail"), job(1, on_refusal="fail")], window_s=0.2)
    assert [(one.id, one.kind) for one in skipped] == [("r0", "engine"), ("r1", "engine")]


def test_nobody_waits_beyond_their_deadline(server: FakeServer, gather: Gather) -> None:
    """A stalled service: every caller is let go in time, those too that could not even send."""
    server.delay_s = 30
    began_s = time.monotonic()
    asked = {"timeout_s": 0.5}
    results = gather([job(at, **asked) for at in range(6)], max_rollouts=2, max_calls=1)
    assert time.monotonic() - began_s < 2.0
    assert [type(one) for one in results] == [assay.DeadlinePassed] * 6
    skipped = gather([job(0, on_refusal="fail", timeout_s=0.3)])
    assert [(one.id, one.kind) for one in skipped] == [("r0", "past_deadline")]


def test_batches_grow_while_the_service_is_busy(server: FakeServer, gather: Gather) -> None:
    """With one request allowed at a time, all that arrives meanwhile goes out together."""
    server.delay_s = 0.3
    results = gather([job(at) for at in range(40)], max_rollouts=40, window_s=0.0, max_calls=1)
    assert all(isinstance(one, assay.Scored) for one in results)
    assert len(server.received) <= 6


def test_a_lone_call_waits_for_the_window_and_no_longer(server: FakeServer) -> None:
    """One sample by itself is late by a few milliseconds."""
    with server.client() as client:
        coalescer = assay.Coalescer(client, window_s=0.005)
        coalescer.score_token(job(0)[1], task=TOXIC)
        began_s = time.monotonic()
        for _ in range(5):
            coalescer.score_token(job(0)[1], task=TOXIC)
        assert (time.monotonic() - began_s) / 5 < 0.1


async def test_a_task_that_is_cancelled_takes_nobody_along(server: FakeServer) -> None:
    """Not even when it was the one that opened the batch."""
    async with server.async_client() as client:
        coalescer = assay.AsyncCoalescer(client, window_s=0.1)
        first, second = (
            asyncio.create_task(coalescer.score_token(job(at)[1], task=TOXIC)) for at in range(2)
        )
        await asyncio.sleep(0.02)
        first.cancel()
        assert isinstance(await second, assay.Scored)
        assert first.cancelled() or await asyncio.wait([first])


def test_a_thread_that_is_interrupted_takes_nobody_along_for_ever(server: FakeServer) -> None:
    """Whoever waits for a batch whose leader broke off is told at once."""
    with server.client() as client:
        coalescer = assay.Coalescer(client, window_s=0.3)
        outcomes: list[Any] = []

        def interrupted(*_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

        def lead() -> None:
            with pytest.raises(KeyboardInterrupt):
                coalescer._gathered(interrupted, job(0)[1], {})

        def follow() -> None:
            with pytest.raises(assay.AssayError, match="given up with its thread"):
                coalescer._gathered(interrupted, job(1)[1], {})
            outcomes.append("told")

        threads = [threading.Thread(target=lead), threading.Thread(target=follow)]
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        for thread in threads:
            thread.join(timeout=5)
        assert outcomes == ["told"]

"""A service with its cache in Redis, through the front door, while Redis is mistreated."""

import asyncio
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import CacheSettings, EngineName, EngineSettings, Settings
from assayd.stores.redis import RedisStore
from assayd.telemetry import Telemetry

from ..processes import assayd, wait_until
from ..redis_server import RedisServer

SAMPLES = Path(__file__).parents[2] / "examples" / "rollouts.jsonl"
FAKE = {"engine": EngineName.FAKE}
TIMEOUT_S = 0.25
# What two shared cores may add to a call that is judged in hundredths of a second.
GRACE_S = 3.0
"""For a slow machine; what hangs is longer than that."""
AWAY_S = 6.0

Serve = Callable[[object], AbstractContextManager[str]]


def rollout(number: int) -> dict[str, Any]:
    """One of many that the engines without weights tell apart: they pay by the length of the text."""
    text = f"Letter {number}. {'word ' * (number % 97)}End."
    first, last = text.index(" "), len(text) - len("End.")
    offsets = [[0, first], [first, last], [last, len(text)]]
    return {"id": str(number), "prompt": f"letter {number}", "completion": {"text": text, "offsets": offsets}}


def score(client: httpx.Client, *numbers: int) -> httpx.Response:
    """The segments of some of them."""
    return client.post("/score/segment", json={"rollouts": [rollout(number) for number in numbers]})


def judged(answer: httpx.Response) -> list[Any]:
    """Everything about the results but where they come from."""
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["ok"] * len(results)
    return [{name: value for name, value in result.items() if name != "provenance"} for result in results]


def cached(answer: httpx.Response) -> list[bool]:
    """Which of the results were remembered."""
    return [result["provenance"]["cached"] for result in answer.json()["results"]]


def cache_errors(client: httpx.Client, operation: str, reason: str) -> float:
    """How many the service counted."""
    sample = f'assay_cache_errors_total{{operation="{operation}",reason="{reason}"}} '
    lines = client.get("/metrics").text.splitlines()
    return next((float(line.removeprefix(sample)) for line in lines if line.startswith(sample)), 0.0)


def recovered(client: httpx.Client) -> None:
    """Wait until the service uses its cache again."""
    wait_until(lambda: client.get("/readyz").json()["status"] == "ok", "it did not recover", 30)


@pytest.fixture
def start(serve_app: Serve) -> Iterator[Callable[[str], httpx.Client]]:
    """The means to start a service without weights on a cache."""
    with ExitStack() as stack:

        def start(cache_url: str) -> httpx.Client:
            url = stack.enter_context(serve_app(create_app(weightless(cache_url))))
            return stack.enter_context(httpx.Client(base_url=url, timeout=30))

        yield start


def weightless(cache_url: str, **changes: Any) -> Settings:
    """Settings of a service that judges in no time."""
    engines = {"critic": FAKE, "rewriter": FAKE, "segment": {**FAKE, "normalizer": "none"}, "sequence": FAKE}
    return Settings(**{**engines, "cache": CacheSettings(url=cache_url, timeout_s=TIMEOUT_S), **changes})


def test_what_one_service_judged_another_process_remembers(
    serve_app: Serve, redis_server: RedisServer, tmp_path: Path
) -> None:
    """On the embedded models, every route: the second answers from Redis, number for number the same."""
    rows = [json.loads(line) for line in SAMPLES.read_text().splitlines()]
    tasks = {row["task"] for row in rows}
    plain = [{name: value for name, value in row.items() if name != "task"} for row in rows]
    calls: list[tuple[str, dict[str, Any]]] = [
        *(
            (
                "/score/token",
                {"task": task, "rollouts": [plain[i] for i in range(6) if rows[i]["task"] == task]},
            )
            for task in sorted(tasks)
        ),
        ("/score/segment", {"rollouts": plain, "options": {"return_entropies": True}}),
        ("/score/sequence", {"rollouts": plain}),
        ("/rewrite", {"rollouts": [{**plain[1], "reference": plain[0]["completion"]["text"]}]}),
    ]
    settings = Settings(cache=CacheSettings(url=redis_server.url))
    with serve_app(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as first:
        fresh = [first.post(path, json=request) for path, request in calls]
    assert not any(itertools.chain.from_iterable(map(cached, fresh)))
    with (
        assayd(tmp_path / "log", cache__url=redis_server.url) as service,
        httpx.Client(base_url=service.url, timeout=60) as second,
    ):
        again = [second.post(path, json=request) for path, request in calls]
        assert second.get("/readyz").json()["status"] == "ok"
    assert all(itertools.chain.from_iterable(map(cached, again)))
    assert list(map(judged, again)) == list(map(judged, fresh))


def test_a_cache_that_is_gone_degrades_the_service(
    start: Callable[[str], httpx.Client], redis_server: RedisServer
) -> None:
    """Calls are answered, ``/readyz`` stays 200 and names the part, metrics count; all by itself back to ok."""
    client = start(redis_server.url)
    ready = client.get("/readyz").json()
    assert (ready["status"], ready["parts"]["cache"]) == ("ok", True)
    redis_server.kill()
    assert cached(score(client, 1)) == [False]
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert [part for part, answers in answer.json()["parts"].items() if not answers] == ["cache"]
    assert cache_errors(client, "get", "connection") == 1
    redis_server.start()
    recovered(client)
    assert cached(score(client, 1)) == [False]
    assert cached(score(client, 1)) == [True]


def test_without_critic_and_cache_it_is_not_ready(serve_app: Serve, redis_server: RedisServer) -> None:
    """What it cannot judge without counts for more than what it can."""
    redis_server.kill()
    gone = EngineSettings(engine=EngineName.OPENAI, model="gone", base_url="http://127.0.0.1:9/v1")
    with serve_app(create_app(weightless(redis_server.url, critic=gone))) as url:
        answer = httpx.get(f"{url}/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    parts = answer.json()["parts"]
    assert [part for part, answers in parts.items() if not answers] == ["critic", "cache"]


def test_a_frozen_cache_delays_one_call_by_the_timeout_and_the_next_by_nothing(
    start: Callable[[str], httpx.Client], redis_server: RedisServer
) -> None:
    """A call of two hundred rollouts waits as long as a call of one: once."""
    client = start(redis_server.url)
    score(client, 1000)
    redis_server.freeze()
    plain = start("memory://")
    for numbers in (range(200), range(200, 400)):
        started = time.monotonic()
        expected = judged(score(plain, *numbers))
        alone_s = time.monotonic() - started
        started = time.monotonic()
        assert judged(score(client, *numbers)) == expected
        assert time.monotonic() - started < alone_s + TIMEOUT_S + GRACE_S
    assert cache_errors(client, "put", "timeout") == 0
    redis_server.thaw()


def test_bytes_that_are_no_annotation_are_a_miss(
    start: Callable[[str], httpx.Client], redis_server: RedisServer
) -> None:
    """Sealed as they should be, but of another shape: judged again and mended, never ``internal``."""
    client = start(redis_server.url)
    fresh = score(client, 1)
    key = fresh.json()["results"][0]["provenance"]["key"]
    rubbish = [
        b"",
        b"\xc1",
        b"\x80",
        b"\x81\xa7rewards\x91\xa1x",
        b"\x81\xa1\xff\x01",
        b"\x81\xa1x" * 100_000,
    ]

    async def overwrite(value: bytes) -> None:
        store = await RedisStore.open(CacheSettings(url=redis_server.url), Telemetry())
        await store.put(key, value)
        await store.close()

    for value in rubbish:
        asyncio.run(overwrite(value))
        answer = score(client, 1)
        assert (judged(answer), cached(answer)) == (judged(fresh), [False])
        assert cached(score(client, 1)) == [True]
    # Looked up, then claimed: there Redis says that it is done already, so it is read once more.
    assert cache_errors(client, "get", "rubbish") == 2 * len(rubbish)


def test_under_load_nothing_is_lost_and_nothing_is_wrong(
    start: Callable[[str], httpx.Client], redis_server: RedisServer
) -> None:
    """Killed, started, frozen, flushed, filled and fed with rubbish during calls: each answer as undisturbed."""
    client = start(redis_server.url)
    undisturbed = judged(score(start("memory://"), *range(60)))
    stop = threading.Event()
    wrong: list[Any] = []
    slowest_s, answered, hits = [0.0], [0], [0]

    def load(seed: int) -> None:
        rng = random.Random(seed)
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            while not stop.is_set():
                numbers = rng.sample(range(60), 8)
                started = time.monotonic()
                try:
                    answer = score(own, *numbers)
                    if judged(answer) != [undisturbed[number] for number in numbers]:
                        wrong.append(answer.json())
                    hits[0] += sum(cached(answer))
                except Exception as error:
                    wrong.append(error)
                slowest_s[0] = max(slowest_s[0], time.monotonic() - started)
                answered[0] += 1

    def spoil() -> None:
        for name in redis_server.names():
            value = bytearray(redis_server.client.get(name) or b"x")
            value[-1] ^= 1
            redis_server.client.set(name, bytes(value))

    def fill() -> None:
        redis_server.fill()
        redis_server.client.flushall()

    threads = [threading.Thread(target=load, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for mistreat, mend in (
        (redis_server.client.flushall, None),
        (spoil, None),
        (redis_server.kill, redis_server.start),
        (fill, redis_server.empty_out),
        (redis_server.freeze, redis_server.thaw),
        (spoil, None),
    ):
        time.sleep(0.5)
        mistreat()
        if mend is not None:
            time.sleep(AWAY_S)
            mend()
            recovered(client)
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert answered[0] > 50
    assert hits[0] > 50
    assert slowest_s[0] < TIMEOUT_S + GRACE_S
    for operation, reason in (("get", "rubbish"), ("get", "connection"), ("put", "full"), ("get", "timeout")):
        assert cache_errors(client, operation, reason) > 0, (operation, reason)

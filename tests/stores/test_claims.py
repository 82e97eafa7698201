"""Two services on one Redis: what one of them judges the other waits for, and takes over when it has to."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from assayd.domain.storage import Claimed
from assayd.stores.redis_claims import TTL_S

from ..processes import Process, assayd, wait_until
from ..redis_server import RedisServer

Open = Callable[[str], AbstractAsyncContextManager[Any]]
ITEM = {"completion": {"text": "you rat", "offsets": [[0, 3], [3, 7]]}}
# What two shared cores may add.
GRACE_S = 15.0


def body(*prompts: str, timeout_s: float = 60.0) -> dict[str, Any]:
    """A call with one rollout a prompt."""
    rollouts = [{**ITEM, "prompt": prompt} for prompt in prompts]
    return {"task": "relc-toxicity", "rollouts": rollouts, "timeout_s": timeout_s}


def claimed(client: httpx.Client) -> dict[str, float]:
    """``assay_cache_claims_total`` by outcome."""
    start, lines = 'assay_cache_claims_total{outcome="', client.get("/metrics").text.splitlines()
    counted = (line.removeprefix(start).split('"} ') for line in lines if line.startswith(start))
    return {outcome: float(value) for outcome, value in counted}


class Together:
    """Services on one Redis, the critic that all ask, and means to call them side by side."""

    def __init__(self, folder: Path, settings: dict[str, str], critic: Any, stack: ExitStack) -> None:
        self.critic = critic
        self._log = folder / "log"
        self._settings = settings
        self._stack = stack
        self._pool = stack.enter_context(ThreadPoolExecutor())
        self.clients = [self.client(self.start()) for _ in range(2)]

    def start(self) -> Process:
        """One more of them."""
        service = self._stack.enter_context(assayd(self._log, weightless=True, **self._settings))
        self._stack.callback(service.kill)
        return service

    def client(self, service: Process) -> httpx.Client:
        """A client of one of them."""
        return self._stack.enter_context(httpx.Client(base_url=service.url, timeout=60))

    def begin(self, client: httpx.Client, call: dict[str, Any]) -> "Future[httpx.Response]":
        """A call made in the background."""
        return self._pool.submit(client.post, "/score/token", json=call)

    def asked(self, times: int) -> None:
        """Return when the critic was asked so often."""
        wait_until(
            lambda: len(self.critic.prompts) >= times, f"the critic was not asked {times} times", GRACE_S
        )


@pytest.fixture(scope="module")
def _together(
    serve_app: Callable[[object], AbstractContextManager[str]],
    lasting_redis: RedisServer,
    new_critic: Callable[[], Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Together]:
    with ExitStack() as stack:
        critic = new_critic()
        url = stack.enter_context(serve_app(critic))
        settings = {
            "critic__engine": "openai",
            "critic__model": "scripted",
            "critic__base_url": f"{url}/v1",
            "cache__url": lasting_redis.url,
        }
        yield Together(tmp_path_factory.mktemp("services"), settings, critic, stack)


@pytest.fixture
def together(_together: Together) -> Together:
    """Two real processes, whose critic is as good as new."""
    _together.critic.__init__()
    return _together


def rewards(answer: httpx.Response) -> list[list[float]]:
    """Those of each rollout, all of which were judged."""
    assert answer.status_code == 200, answer.text
    return [result["rewards"] for result in answer.json()["results"]]


def test_what_two_services_are_asked_at_once_is_judged_once(
    together: Together, lasting_redis: RedisServer
) -> None:
    """However the work falls to them; nobody claims anything afterwards."""
    critic, (one, other) = together.critic, together.clients
    critic.delay_s = 1.0
    critic.reply = lambda prompt: "Toxic Span 1: rat" if "odd" in prompt else "None identified"
    prompts = [f"{'odd' if number % 2 else 'even'} {number}" for number in range(40)]
    calls = [together.begin(one, body(*prompts)), together.begin(other, body(*reversed(prompts)))]
    first, second = (rewards(call.result()) for call in calls)
    assert first == list(reversed(second))
    assert first[0] != first[1]
    assert len(critic.prompts) == len(prompts)
    counted = [claimed(client) for client in together.clients]
    assert sum(each.get("worked", 0) for each in counted) == len(prompts)
    assert sum(each.get("shared_across", 0) for each in counted) == len(prompts)
    wait_until(lambda: not lasting_redis.claims(), "claims are left", GRACE_S)


def test_the_work_of_who_was_killed_is_taken_over(together: Together) -> None:
    """As soon as its claim has died; the caller of the other service only waited."""
    killed, other = together.start(), together.clients[0]
    together.critic.delay_s = 25.0
    lost = together.begin(together.client(killed), body("killed"))
    together.asked(1)
    together.critic.delay_s = 0.0
    waiting = together.begin(other, body("killed"))
    time.sleep(1.0)
    assert not waiting.done()
    killed.kill()
    began = time.monotonic()
    assert len(rewards(waiting.result())) == 1
    assert time.monotonic() - began < TTL_S + GRACE_S
    assert isinstance(lost.exception(), httpx.TransportError)
    assert claimed(other)["taken_over"] == 1.0


def test_who_gives_up_gives_back_at_once(together: Together) -> None:
    """The caller hung up, so its service stopped; the other one does not wait for the claim to die."""
    together.critic.delay_s = 10.0
    with pytest.raises(httpx.ReadTimeout):
        together.clients[0].post("/score/token", json=body("hung up"), timeout=1.0)
    together.critic.delay_s = 0.0
    assert len(rewards(together.begin(together.clients[1], body("hung up")).result())) == 1
    assert len(together.critic.prompts) == 2


def test_who_waits_leaves_time_to_work_alone(together: Together) -> None:
    """Half of what the call had, less what is kept for its answer; the other service is not done by then."""
    one, other = together.clients
    together.critic.delay_s = 12.0
    slow = together.begin(one, body("slow"))
    together.asked(1)
    together.critic.delay_s = 0.0
    before = claimed(other).get("alone", 0.0)
    began = time.monotonic()
    assert len(rewards(together.begin(other, body("slow", timeout_s=8.0)).result())) == 1
    assert 3.8 <= time.monotonic() - began < 8.0
    assert claimed(other)["alone"] == before + 1
    assert len(rewards(slow.result())) == 1


def test_a_redis_that_freezes_keeps_nobody_waiting(together: Together, lasting_redis: RedisServer) -> None:
    """Who waits for the other service goes on alone."""
    one, other = together.clients
    together.critic.delay_s = 5.0
    calls = [together.begin(one, body("frozen"))]
    together.asked(1)
    calls.append(together.begin(other, body("frozen")))
    time.sleep(1.0)
    lasting_redis.freeze()
    together.asked(2)
    assert [rewards(call.result()) for call in calls] == [[[0.0, 0.0]]] * 2
    lasting_redis.thaw()


async def test_a_claim_is_one_services_until_it_is_given_back(
    open_store: Open, redis_server: RedisServer
) -> None:
    """It is kept alive meanwhile; what is remembered needs no claim."""
    async with open_store(redis_server.url) as one, open_store(redis_server.url) as other:
        ours, theirs = one.store.claims, other.store.claims
        assert await ours.claim("a") is Claimed.OURS
        assert await theirs.claim("a") is Claimed.THEIRS
        [name] = redis_server.claims()
        await asyncio.sleep(TTL_S + 1)
        assert redis_server.client.pttl(name) > 0
        theirs.release("a")
        assert await theirs.claim("a") is Claimed.THEIRS
        ours.release("a")
        await theirs.released("a")
        assert await theirs.claim("a") is Claimed.OURS
        assert await ours.claim("a") is Claimed.THEIRS
        await other.store.put("a", b"done")
        await ours.released("a")
        assert await ours.claim("a") is Claimed.DONE


async def test_a_redis_without_scripts_still_remembers(open_store: Open, redis_server: RedisServer) -> None:
    """Nobody can tell who works on what; everything else is as ever."""
    redis_server.client.execute_command("ACL", "SETUSER", "default", "-@scripting")
    async with open_store(redis_server.url) as one:
        assert await one.store.claims.claim("a") is Claimed.UNKNOWN
        await one.store.put("a", b"done")
        assert await one.store.get("a") == b"done"
        assert await one.store.ready()
        assert one.errors == {("claim", "refused"): 1.0}


async def test_a_full_redis_lets_everybody_work(open_store: Open, redis_server: RedisServer) -> None:
    """A claim that cannot be made is not waited for; one that can again is made."""
    async with open_store(redis_server.url) as one:
        redis_server.fill()
        assert await one.store.claims.claim("a") is Claimed.UNKNOWN
        assert one.errors == {("claim", "full"): 1.0}
        redis_server.empty_out()
        give_up_at = time.monotonic() + GRACE_S
        while await one.store.claims.claim("a") is not Claimed.OURS:
            assert time.monotonic() < give_up_at, "it did not recover"
            await asyncio.sleep(0.1)


async def test_claims_that_were_flushed_hold_nobody_up(open_store: Open, redis_server: RedisServer) -> None:
    """Who waited goes on at once."""
    async with open_store(redis_server.url) as one, open_store(redis_server.url) as other:
        assert await one.store.claims.claim("a") is Claimed.OURS
        assert await other.store.claims.claim("a") is Claimed.THEIRS
        waiting = asyncio.create_task(other.store.claims.released("a"))
        redis_server.client.flushall()
        await asyncio.wait_for(waiting, GRACE_S)
        assert await other.store.claims.claim("a") is Claimed.OURS
        one.store.claims.release("a")
        await asyncio.sleep(0.5)
        assert len(redis_server.claims()) == 1


async def test_replies_that_are_no_replies_leave_everybody_to_work(open_store: Open) -> None:
    """One of the right length that holds anything else says nothing of who works on what."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while commands := await reader.read(65_536):
            writer.write(b"*1\r\n*1\r\n:1\r\n" * commands.count(b"*"))
        writer.close()

    impostor = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with open_store(f"redis://127.0.0.1:{impostor.sockets[0].getsockname()[1]}") as one:
        assert await one.store.claims.claim("a") is Claimed.UNKNOWN
        await asyncio.wait_for(one.store.claims.released("a"), GRACE_S)
    impostor.close()

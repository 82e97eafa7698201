"""The door in front of an engine, and its turnstile."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from assayd.domain.caller import Caller, calling
from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.ports import Deadline
from assayd.engines.preparing import HANDS, prepared
from assayd.engines.turnstile import Turnstile

HEAVY, LIGHT = Caller("heavy"), Caller("light")
TOKENS = 100
WORK_S = 0.03


def later(timeout_s: float = 60.0) -> Deadline:
    """A deadline far away."""
    return Deadline.after(timeout_s)


class Engine:
    """Takes two questions at a time, each for a while; remembers whose it answered."""

    def __init__(self) -> None:
        self.turnstile = Turnstile(2)
        self.answered: list[str] = []

    async def ask(self, caller: Caller, deadline: Deadline, tokens: int = TOKENS) -> str:
        """One question of a caller."""
        with calling(caller):
            async with self.turnstile.turn(tokens, deadline):
                await asyncio.sleep(WORK_S)
        self.answered.append(caller.tenant)
        return "ok"

    async def outcome(self, asked: Coroutine[Any, Any, str]) -> str:
        """What becomes of a question: ``ok`` or the kind of failure."""
        try:
            return await asked
        except AnnotationFailed as error:
            return error.kind


@pytest.fixture
def engine() -> Engine:
    """An engine that nobody has asked yet."""
    return Engine()


async def _busy(engine: Engine, count: int) -> list[asyncio.Task[str]]:
    """So much of one tenant's work, and time for the engine to show its pace."""
    tasks = [asyncio.create_task(engine.ask(HEAVY, later())) for _ in range(count)]
    while engine.turnstile.line.tokens_per_s is None:  # noqa: ASYNC110  # the pace is learned by the clock
        await asyncio.sleep(0.01)
    return tasks


async def test_a_light_tenant_is_served_next(engine: Engine) -> None:
    """It waits for a turn, not for the two hundred who came before."""
    tasks = [asyncio.create_task(engine.ask(HEAVY, later())) for _ in range(200)]
    await asyncio.sleep(0)
    assert await engine.ask(LIGHT, later()) == "ok"
    assert engine.answered.index("light") <= 6
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert engine.turnstile.line.figures().waiting == {"heavy": (0, 0), "light": (0, 0)}
    assert engine.turnstile.line.tokens_before(LIGHT) == 0


async def test_one_tenants_backlog_is_no_reason_to_refuse_another(engine: Engine) -> None:
    """Of two newcomers who have the same little time, only the one behind its own backlog is refused."""
    tasks = await _busy(engine, 200)
    heavy, light = await asyncio.gather(
        *(asyncio.create_task(engine.outcome(engine.ask(one, later(0.6)))) for one in (HEAVY, LIGHT))
    )
    assert (heavy, light) == (FailureKind.OVERLOADED, "ok")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_line_is_bounded_for_those_who_fill_it(engine: Engine) -> None:
    """At its bound, a tenant with its share of the line is refused, and one with less than that is not."""
    engine.turnstile.line.max_tokens = 10 * TOKENS

    async def outcomes(caller: Caller, count: int) -> list[asyncio.Task[str]]:
        tasks = [asyncio.create_task(engine.outcome(engine.ask(caller, later()))) for _ in range(count)]
        await asyncio.sleep(0)
        return tasks

    heavy, light = await outcomes(HEAVY, 20), await outcomes(LIGHT, 20)
    assert [task.done() for task in heavy] == [False] * 12 + [True] * 8
    assert [task.done() for task in light] == [False] * 5 + [True] * 15
    assert {await task for task in heavy[12:] + light[5:]} == {FailureKind.OVERLOADED}
    assert {await task for task in heavy[:12] + light[:5]} == {"ok"}


async def test_what_is_let_in_once_is_let_in_everywhere(engine: Engine) -> None:
    """Work that one engine has been spent on is not refused by the next."""
    tasks = await _busy(engine, 100)
    first = Engine()

    async def both() -> str:
        deadline = later(0.2)
        await first.ask(HEAVY, deadline)
        return await engine.ask(HEAVY, deadline)

    assert await asyncio.create_task(engine.outcome(both())) == FailureKind.PAST_DEADLINE
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_texts_are_prepared_in_turns() -> None:
    """Who brings two hundred texts does not keep the one of another waiting, nor does who gives up on his."""
    done: list[str] = []

    async def prepare(caller: Caller) -> None:
        with calling(caller):
            done.append(await prepared(TOKENS, _slowly, caller.tenant))

    tasks = [asyncio.create_task(prepare(HEAVY)) for _ in range(200)]
    await asyncio.sleep(0)
    await asyncio.create_task(prepare(LIGHT))
    assert done.index("light") <= 2 * HANDS
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await prepare(LIGHT)
    assert done[-1] == "light"


def _slowly(name: str) -> str:
    time.sleep(WORK_S)
    return name


async def test_a_turn_that_is_called_off_passes_on(engine: Engine) -> None:
    """Whoever leaves, inside or outside, at whatever moment, takes no place with him."""
    tasks = [asyncio.create_task(engine.ask(HEAVY, later())) for _ in range(40)]
    for wave in range(4):
        await asyncio.sleep(WORK_S * 1.1)
        for task in tasks[wave::5]:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert set(map(str, outcomes)) <= {"ok", ""}
    assert await asyncio.gather(engine.ask(LIGHT, later()), engine.ask(LIGHT, later())) == ["ok", "ok"]

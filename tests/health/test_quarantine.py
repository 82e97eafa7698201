"""A rollout that kills engine processes is found among those that were inside with it."""

import asyncio
import threading

import pytest

from assayd.domain.failure import AnnotationFailed, Blame, FailureKind
from assayd.domain.ports import Deadline
from assayd.engines.batcher import Batcher, Job, Joiners, nearest
from assayd.health.quarantine import DEATHS_IN_COMPANY, Quarantine
from assayd.telemetry import Telemetry

ROLLOUTS = [str(number) for number in range(64)]
POISON = "41"


class Mortal:
    """An engine that dies of one rollout, and takes all that are inside with it."""

    def __init__(self) -> None:
        self.deaths = 0
        self.crowd: list[int] = []
        self._inside: set[str] = set()
        self._dead = asyncio.Event()

    async def judge(self, key: str) -> str:
        """The answer, or the death of the engine."""
        dead = self._dead
        self._inside.add(key)
        self.crowd.append(len(self._inside))
        try:
            await asyncio.sleep(0)
            if key == POISON:
                self.deaths += 1
                self._dead = asyncio.Event()
                dead.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            self._inside.remove(key)
        if dead.is_set():
            raise AnnotationFailed(
                FailureKind.ENGINE, "the engine died", retry_after_s=1.0, blame=Blame.PRESENT
            )
        return key


async def _round(quarantine: Quarantine, engine: Mortal) -> dict[str, str]:
    """What each rollout is answered when all are sent at once, as a client does that tries again."""

    async def one(key: str) -> str:
        try:
            async with quarantine.watching(key):
                return await engine.judge(key)
        except AnnotationFailed as error:
            return error.detail

    return dict(zip(ROLLOUTS, await asyncio.gather(*map(one, ROLLOUTS)), strict=True))


async def test_the_killer_is_told_from_those_who_were_with_it() -> None:
    """After two deaths suspects go alone: the third death names the one, and all the others are judged."""
    quarantine, engine = Quarantine(600, Telemetry()), Mortal()
    for _ in range(DEATHS_IN_COMPANY):
        assert set((await _round(quarantine, engine)).values()) == {"the engine died"}
    engine.crowd.clear()
    third = await _round(quarantine, engine)
    assert set(engine.crowd) == {1}
    assert [key for key in ROLLOUTS if third[key] != key] == [POISON]
    fourth = await _round(quarantine, engine)
    assert "in quarantine until" in fourth[POISON]
    assert engine.deaths == DEATHS_IN_COMPANY + 1
    assert all(fourth[key] == key for key in ROLLOUTS if key != POISON)


async def test_one_death_makes_nobody_wait() -> None:
    """An engine that was killed from outside once: everyone goes on together."""
    quarantine, engine = Quarantine(600, Telemetry()), Mortal()
    await _round(quarantine, engine)
    engine.crowd.clear()
    await _round(quarantine, engine)
    assert max(engine.crowd) == len(ROLLOUTS)


@pytest.mark.parametrize("kind", [FailureKind.PAST_DEADLINE, FailureKind.ENGINE, FailureKind.TOO_LONG])
async def test_failures_that_blame_nobody_keep_nobody_out(kind: FailureKind) -> None:
    """A server that is away, or a deadline, says nothing of the rollout."""
    quarantine = Quarantine(600, Telemetry())
    for _ in range(5):
        with pytest.raises(AnnotationFailed, match="as it comes"):
            async with quarantine.watching("key"):
                raise AnnotationFailed(kind, "as it comes")


async def test_an_engine_that_fails_on_everything_blames_nobody() -> None:
    """While it fails whatever it is given, a rollout that it reads alone is not to blame: it is judged afterwards."""
    quarantine, broken = Quarantine(600, Telemetry()), threading.Event()

    def run(jobs: list[Job[str, str]], _: Joiners[str, str]) -> None:
        if broken.is_set() or any(job.item == POISON for job in jobs):
            raise RuntimeError("out of memory")
        for job in jobs:
            job.answer(job.item)

    batcher = Batcher(run, nearest(1000), name="test")

    async def judge(key: str) -> str:
        async with quarantine.watching(key):
            return await batcher.submit(key, size=1, deadline=Deadline.after(10))

    assert await judge("first") == "first"
    broken.set()
    outage = await asyncio.gather(*map(judge, ROLLOUTS), return_exceptions=True)
    assert {getattr(outcome, "kind", None) for outcome in outage} == {FailureKind.ENGINE}
    assert batcher.failing
    broken.clear()
    told = await asyncio.gather(*map(judge, ROLLOUTS), return_exceptions=True)
    assert [key for key, answer in zip(ROLLOUTS, told, strict=True) if key != answer] == [POISON]
    with pytest.raises(AnnotationFailed, match="in quarantine until"):
        await judge(POISON)
    await batcher.close()

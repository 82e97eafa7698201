"""What calls that meet in the pipeline do to each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from assayd.admission import Admission, Tenant, Visitor
from assayd.admission.tenants import Terms
from assayd.domain.annotation import TokenAnnotation
from assayd.domain.caller import calling
from assayd.domain.failure import Failure, FailureKind
from assayd.domain.ports import Deadline
from assayd.domain.provenance import ModelRef, Recipe, Usage
from assayd.domain.rollout import Completion, Message, Role, Rollout
from assayd.domain.text import Alignment, Span
from assayd.drift import Drift
from assayd.engines.turnstile import NEVER, Turnstile
from assayd.health.quarantine import Quarantine
from assayd.pipeline import Judged, Pipeline
from assayd.settings import DriftSettings, Settings
from assayd.stores.memory import MemoryStore
from assayd.telemetry import Telemetry

SECRET = "Marmalade skies"
HEAVY, LIGHT = (Visitor.of(Tenant(name, Terms()), None) for name in ("heavy", "light"))
ROLLOUT = Rollout(
    "r", (Message(Role.USER, SECRET),), Completion(Alignment("good", None, (Span(0, 2), Span(2, 4))))
)


class Annotator:
    """Finds every rollout unremarkable, once ``work`` is done with the deadline."""

    recipe = Recipe("critic", "strict", ModelRef("fake", "1"), {}, "1")

    def __init__(self, work: Callable[[Deadline], Awaitable[None]]) -> None:
        self._work = work

    async def annotate(self, rollout: Rollout, *, deadline: Deadline) -> tuple[TokenAnnotation, Usage]:
        """Judge one."""
        await self._work(deadline)
        zeros = (0.0,) * len(rollout.completion)
        return TokenAnnotation(zeros, zeros), Usage()


@pytest.fixture
async def pipeline() -> AsyncIterator[Pipeline]:
    """One over a store in memory."""
    telemetry = Telemetry()
    async with Admission.open(Settings(), telemetry) as admission:
        store = MemoryStore(max_mb=1, ttl_s=60)
        drift = Drift(DriftSettings(), telemetry)
        yield Pipeline(store, admission, Quarantine(60, telemetry), drift, telemetry)


async def judged(
    pipeline: Pipeline, annotator: Annotator, visitor: Visitor, timeout_s: float
) -> Judged[TokenAnnotation] | Failure:
    """What becomes of the rollout in a call of its own."""
    deadline = Deadline.after(timeout_s)
    [result] = await pipeline.run(annotator, TokenAnnotation, [ROLLOUT], deadline, visitor)
    return result


async def test_a_line_that_is_full_for_one_tenant_is_not_for_who_shares_its_work(pipeline: Pipeline) -> None:
    """Whose share is not used up is judged, though the same work was begun by one whose is."""
    turnstile = Turnstile(1)
    turnstile.line.max_tokens = 100

    async def work(deadline: Deadline) -> None:
        await asyncio.sleep(0.1)
        async with turnstile.turn(10, deadline):
            pass

    async with turnstile.turn(1):
        # The visitors' own names stand for those who wait: what counts is the tenant.
        full = asyncio.create_task(_waiting(turnstile, HEAVY, 95))
        await asyncio.sleep(0)
        annotator = Annotator(work)
        heavy = asyncio.create_task(judged(pipeline, annotator, HEAVY, 30))
        await asyncio.sleep(0)
        light = asyncio.create_task(judged(pipeline, annotator, LIGHT, 30))
        refused = await heavy
        assert isinstance(refused, Failure)
        assert refused.kind is FailureKind.OVERLOADED
    assert isinstance(await light, Judged)
    await full


async def _waiting(turnstile: Turnstile, visitor: Visitor, tokens: int) -> None:
    with calling(visitor.caller):
        async with turnstile.turn(tokens, NEVER):
            pass


async def test_a_crash_is_logged_by_its_place(pipeline: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    """What the error says may quote the rollout: it is neither answered nor logged, and costs one rollout."""

    async def work(deadline: Deadline) -> None:
        raise KeyError(SECRET)

    failed = await judged(pipeline, Annotator(work), LIGHT, 30)
    assert isinstance(failed, Failure)
    assert failed.kind is FailureKind.INTERNAL
    logged = "".join(capsys.readouterr())
    assert "annotation_crashed" in logged
    assert "test_pipeline.py" in logged
    assert SECRET not in logged + failed.detail

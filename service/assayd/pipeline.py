"""One call: admit, look up, annotate what is missing, remember, answer in order."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from .admission import Admission, Tenant, Visitor
from .claiming import once
from .domain.caller import calling, current_caller
from .domain.failure import AnnotationFailed, Failure, FailureKind, Rejected
from .domain.ports import Annotation, Annotator, AsksInTurn, Deadline, Queue
from .domain.provenance import Provenance, Recipe, Usage
from .domain.rollout import Rollout
from .domain.storage import Store
from .drift import Drift
from .engines.line import lines_of, refuse_hopeless, set_out
from .engines.preparing import hands
from .flights import Flights
from .health.quarantine import Quarantine
from .telemetry import CacheFault, CacheOperation, Subject, Telemetry, raised_at
from .tracing import span

A = TypeVar("A", bound=Annotation)

BEGUN_AT_ONCE: Final = 32
SLACK_BEFOREHAND: Final = 1.7
"""More than at the engines' doors: who is let in here is not to be refused there, after all that is done between."""
_OK: Final = "ok"
_COSTLY: Final = frozenset(
    {
        FailureKind.PAST_DEADLINE,
        FailureKind.UNPARSEABLE,
        FailureKind.TRUNCATED_CRITIQUE,
        FailureKind.LOCATE_DISAGREES,
    }
)
"""Failures in which an engine has worked, or may have."""
_OF_WHO_BEGAN: Final = frozenset({FailureKind.PAST_DEADLINE, FailureKind.OVERLOADED})
"""Failures for which it matters whose work it is, and how much time there is."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judged(Generic[A]):
    """One rollout's annotation and where it comes from."""

    annotation: A
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[A]):
    annotation: A
    usage: Usage
    cached: bool = False


class Pipeline:
    """The road from rollouts to results, the same for every annotator."""

    def __init__(
        self,
        store: Store,
        admission: Admission,
        quarantine: Quarantine,
        drift: Drift,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._admission = admission
        self._quarantine = quarantine
        self._drift = drift
        self._telemetry = telemetry
        self._flights: Flights[_Outcome[Annotation]] = Flights()

    def refuse_hopeless(
        self, annotator: Annotator[A], tokens: int, deadline: Deadline, *, weighed: bool, rewarded: bool
    ) -> None:
        """Look ahead before a call is prepared whose shortest rollout has so many tokens.

        ``weighed`` and ``rewarded`` as in ``AsksInTurn``, of any of its rollouts. Raises ``Rejected`` (``overloaded``)
        where the lines that it would go through are too long by now.
        """
        try:
            road = (hands().line, *_lines(annotator, weighed=weighed, rewarded=rewarded))
            refuse_hopeless(road, tokens, deadline, slack=SLACK_BEFOREHAND)
        except AnnotationFailed as error:
            raise Rejected(error.kind, error.detail, retry_after_s=error.retry_after_s) from error

    async def run(
        self,
        annotator: Annotator[A],
        kind: type[A],
        items: Sequence[Rollout | Failure],
        deadline: Deadline,
        visitor: Visitor,
    ) -> list[Judged[A] | Failure]:
        """One result per item, in order; an item that arrives as a ``Failure`` stays one.

        ``kind`` is the annotation type, needed to read it back from the store, ``visitor`` whose call it is. Raises
        ``Rejected`` when the call as a whole is not admitted. Cancelling this call cancels whatever nobody else
        waits for.
        """
        async with self._admission.admit(visitor, annotator.recipe, items) as permit:
            with calling(visitor.caller):
                async with asyncio.TaskGroup() as group:
                    tasks = []
                    for start in range(0, len(items), BEGUN_AT_ONCE):
                        tasks += [
                            group.create_task(self._judge(annotator, kind, item, deadline))
                            for item in items[start : start + BEGUN_AT_ONCE]
                        ]
                        # Thousands that begin in one breath are all that the event loop would do for a second.
                        await asyncio.sleep(0)
            results = [task.result() for task in tasks]
            await self._admission.give_back(permit, [not _cost_something(result) for result in results])
        self._count(visitor.tenant, annotator.recipe, items, results)
        return results

    async def _judge(
        self, annotator: Annotator[A], kind: type[A], item: Rollout | Failure, deadline: Deadline
    ) -> Judged[A] | Failure:
        if isinstance(item, Failure):
            return item
        try:
            async with asyncio.timeout(max(deadline.remaining_s, 0.0)):
                return await self._look_up_or_annotate(annotator, kind, item, deadline)
        except AnnotationFailed as error:
            return error.failure
        except TimeoutError:
            return Failure(
                FailureKind.PAST_DEADLINE, "the deadline of the call passed before this rollout was judged"
            )
        except Exception as error:
            # A defect of ours must cost one rollout, not its neighbours.
            log.error(
                "annotation_crashed",
                method=annotator.recipe.method,
                error=type(error).__name__,
                where=raised_at(error),
            )
            return Failure(
                FailureKind.INTERNAL, f"the annotator crashed ({type(error).__name__}); see the service's log"
            )

    async def _look_up_or_annotate(
        self, annotator: Annotator[A], kind: type[A], rollout: Rollout, deadline: Deadline
    ) -> Judged[A]:
        started = time.monotonic()
        recipe = annotator.recipe
        key = recipe.key(rollout)

        def judged(outcome: _Outcome[A]) -> Judged[A]:
            elapsed_s = time.monotonic() - started
            return Judged(outcome.annotation, Provenance(key, outcome.cached, outcome.usage, elapsed_s))

        if not recipe.cacheable:
            return judged(await self._annotate(key, annotator, rollout, deadline))
        remembered = await self._recall(key, kind)
        if remembered is not None:
            self._look_up("hit")
            return judged(remembered)
        return judged(await self._share(key, annotator, kind, rollout, deadline))

    async def _recall(self, key: str, kind: type[A]) -> _Outcome[A] | None:
        with span("cache"):
            encoded = await self._store.get(key)
        if encoded is None:
            return None
        try:
            return _Outcome(msgspec.msgpack.decode(encoded, type=kind), Usage(), cached=True)
        except (ValueError, RecursionError):
            # Not only msgspec's own errors: text that is not UTF-8, lists in lists without an end.
            self._telemetry.count_cache_error(CacheOperation.GET, CacheFault.RUBBISH)
            return None

    async def _share(
        self, key: str, annotator: Annotator[A], kind: type[A], rollout: Rollout, deadline: Deadline
    ) -> _Outcome[A]:
        async def annotate_and_remember() -> _Outcome[Annotation]:
            outcome = await self._annotate(key, annotator, rollout, deadline)
            if not outcome.annotation.transient:
                await self._store.put(key, msgspec.msgpack.encode(outcome.annotation))
            return _Outcome(outcome.annotation, outcome.usage)

        async def once_among_services() -> _Outcome[Annotation]:
            if self._store.claims is None:
                return await annotate_and_remember()
            return await once(
                self._store.claims,
                key,
                deadline,
                recall=lambda: self._recall(key, kind),
                work=annotate_and_remember,
                count=lambda outcome: self._telemetry.claims.labels(outcome).inc(),
            )

        ours = current_caller(), deadline
        while True:
            theirs = self._flights.begun_by(key)
            self._look_up("miss" if theirs is None else "shared")
            try:
                shared = await self._flights.join(key, once_among_services, by=ours)
            except AnnotationFailed as error:
                # The flight kept the deadline and the place in line of whoever began it; ours may be better.
                if error.kind in _OF_WHO_BEGAN and theirs not in (None, ours) and not deadline.passed:
                    continue
                raise
            return shared  # type: ignore[return-value]  # the key names the recipe, so the kind is A

    async def _annotate(
        self, key: str, annotator: Annotator[A], rollout: Rollout, deadline: Deadline
    ) -> _Outcome[A]:
        async with self._quarantine.watching(key):
            weighed, rewarded = rollout.entropies is not None, rollout.extrinsic is not None
            set_out(_lines(annotator, weighed=weighed, rewarded=rewarded), deadline)
            with span("annotate"):
                annotation, usage = await annotator.annotate(rollout, deadline=deadline)
        tenant = current_caller().tenant
        self._telemetry.engine_tokens.labels(tenant, "prompt").inc(usage.prompt_tokens)
        self._telemetry.engine_tokens.labels(tenant, "completion").inc(usage.completion_tokens)
        return _Outcome(annotation, usage)

    def _look_up(self, result: str) -> None:
        self._telemetry.cache_lookups.labels(current_caller().tenant, result).inc()

    def _count(
        self,
        tenant: Tenant,
        recipe: Recipe,
        items: Sequence[Rollout | Failure],
        results: Sequence[Judged[A] | Failure],
    ) -> None:
        subject = Subject(tenant.name, recipe.method, recipe.task or "")
        outcomes = Counter(result.kind if isinstance(result, Failure) else _OK for result in results)
        for outcome, rollouts in outcomes.items():
            self._telemetry.rollouts.labels(*subject, outcome).inc(rollouts)
        judged = (
            (item, result.annotation)
            for item, result in zip(items, results, strict=True)
            if isinstance(item, Rollout) and isinstance(result, Judged)
        )
        self._drift.observe(subject, judged)


def _lines(annotator: Annotator[A], *, weighed: bool, rewarded: bool) -> tuple[Queue, ...]:
    """Through which a rollout goes, none where that depends on it."""
    if not isinstance(annotator, AsksInTurn):
        return ()
    return lines_of(annotator.engines_for(weighed=weighed, rewarded=rewarded))


def _cost_something(result: Judged[A] | Failure) -> bool:
    """Whether the tokens reserved for it are spent."""
    if isinstance(result, Failure):
        return result.kind in _COSTLY and result.retry_after_s is None
    return not result.provenance.cached

"""One call: admit, look up, annotate what is missing, remember, answer in order."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec
import structlog

from .admission import Admission, Visitor
from .domain.caller import calling
from .domain.failure import AnnotationFailed, Failure, FailureKind
from .domain.ports import Annotation, Annotator, AsksInTurn, Deadline, Store
from .domain.provenance import Provenance, Usage
from .domain.rollout import Rollout
from .engines.line import refuse_hopeless
from .flights import Flights
from .health.quarantine import Quarantine
from .telemetry import CacheFault, CacheOperation, Telemetry

A = TypeVar("A", bound=Annotation)

_COSTLY: Final = frozenset(
    {
        FailureKind.PAST_DEADLINE,
        FailureKind.UNPARSEABLE,
        FailureKind.TRUNCATED_CRITIQUE,
        FailureKind.LOCATE_DISAGREES,
    }
)
"""Failures in which an engine has worked, or may have."""

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


class Pipeline:
    """The road from rollouts to results, the same for every annotator."""

    def __init__(
        self, store: Store, admission: Admission, quarantine: Quarantine, telemetry: Telemetry
    ) -> None:
        self._store = store
        self._admission = admission
        self._quarantine = quarantine
        self._telemetry = telemetry
        self._flights: Flights[_Outcome[Annotation]] = Flights()

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
                    tasks = [
                        group.create_task(self._judge(annotator, kind, item, deadline)) for item in items
                    ]
            results = [task.result() for task in tasks]
            await self._admission.give_back(permit, [not _cost_something(result) for result in results])
        self._count(annotator, results)
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
            log.exception("annotation_crashed", method=annotator.recipe.method, error=type(error).__name__)
            return Failure(
                FailureKind.INTERNAL, f"the annotator crashed ({type(error).__name__}); see the service's log"
            )

    async def _look_up_or_annotate(
        self, annotator: Annotator[A], kind: type[A], rollout: Rollout, deadline: Deadline
    ) -> Judged[A]:
        started = time.monotonic()
        recipe = annotator.recipe
        key = recipe.key(rollout)

        def judged(outcome: _Outcome[A], *, cached: bool) -> Judged[A]:
            elapsed_s = time.monotonic() - started
            return Judged(outcome.annotation, Provenance(key, cached, outcome.usage, elapsed_s))

        if not recipe.cacheable:
            return judged(await self._annotate(key, annotator, rollout, deadline), cached=False)
        remembered = await self._recall(key, kind)
        if remembered is not None:
            self._telemetry.cache_lookups.labels("hit").inc()
            return judged(_Outcome(remembered, Usage()), cached=True)
        outcome = await self._share(key, annotator, rollout, deadline)
        return judged(outcome, cached=False)

    async def _recall(self, key: str, kind: type[A]) -> A | None:
        encoded = await self._store.get(key)
        if encoded is None:
            return None
        try:
            return msgspec.msgpack.decode(encoded, type=kind)
        except (ValueError, RecursionError):
            # Not only msgspec's own errors: text that is not UTF-8, lists in lists without an end.
            self._telemetry.count_cache_error(CacheOperation.GET, CacheFault.RUBBISH)
            return None

    async def _share(
        self, key: str, annotator: Annotator[A], rollout: Rollout, deadline: Deadline
    ) -> _Outcome[A]:
        async def annotate_and_remember() -> _Outcome[Annotation]:
            outcome = await self._annotate(key, annotator, rollout, deadline)
            if not outcome.annotation.transient:
                await self._store.put(key, msgspec.msgpack.encode(outcome.annotation))
            return _Outcome(outcome.annotation, outcome.usage)

        while True:
            joined = key in self._flights
            self._telemetry.cache_lookups.labels("shared" if joined else "miss").inc()
            try:
                shared = await self._flights.join(key, annotate_and_remember)
            except AnnotationFailed as error:
                # The flight kept the deadline of whoever began it; ours may be later.
                if joined and error.kind is FailureKind.PAST_DEADLINE and not deadline.passed:
                    continue
                raise
            return shared  # type: ignore[return-value]  # the key names the recipe, so the kind is A

    async def _annotate(
        self, key: str, annotator: Annotator[A], rollout: Rollout, deadline: Deadline
    ) -> _Outcome[A]:
        async with self._quarantine.watching(key):
            if isinstance(annotator, AsksInTurn):
                refuse_hopeless(annotator.engines_for(rollout), deadline)
            annotation, usage = await annotator.annotate(rollout, deadline=deadline)
        self._telemetry.engine_tokens.labels("prompt").inc(usage.prompt_tokens)
        self._telemetry.engine_tokens.labels("completion").inc(usage.completion_tokens)
        return _Outcome(annotation, usage)

    def _count(self, annotator: Annotator[A], results: Sequence[Judged[A] | Failure]) -> None:
        recipe = annotator.recipe
        for result in results:
            outcome = result.kind if isinstance(result, Failure) else "ok"
            self._telemetry.rollouts.labels(recipe.method, recipe.task or "", outcome).inc()


def _cost_something(result: Judged[A] | Failure) -> bool:
    """Whether the tokens reserved for it are spent."""
    return result.kind in _COSTLY if isinstance(result, Failure) else not result.provenance.cached

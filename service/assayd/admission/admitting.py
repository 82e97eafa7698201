"""From a key to a permit. A permit is a value: the pipeline judges nothing without one."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from ..domain.failure import Failure, FailureKind, Rejected
from ..domain.provenance import Recipe
from ..domain.rollout import Rollout
from ..settings import Settings
from ..stores.windows import Windows
from ..telemetry import Telemetry
from .quotas import Quotas, Standing, tokens_of
from .roster import Roster
from .tenants import OPEN, Tenant, Visitor

_LONGEST_RETRY_AFTER_S = 60.0
_WEIGHT_OF_NEWEST = 0.2


@dataclass(frozen=True, slots=True)
class Permit:
    """Proof that ``items`` may be judged for ``visitor``."""

    visitor: Visitor
    items: Sequence[Rollout | Failure]


class Admission:
    """Tells who calls, and bounds what is under judgement at once: over all tenants, and of each."""

    def __init__(
        self, max_rollouts: int, roster: Roster | None, windows: Windows, telemetry: Telemetry
    ) -> None:
        self._max_rollouts = max_rollouts
        self._roster = roster
        self._windows = windows
        self._quotas = Quotas(windows)
        self._in_flight = 0
        self._in_flight_of: Counter[str] = Counter()
        self._rollouts_per_s: float | None = None
        self._telemetry = telemetry

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, telemetry: Telemetry) -> AsyncIterator[Self]:
        """Admission as the settings ask for it, while the block runs; raises ``ValueError`` for a bad tenants file."""
        path = settings.tenants.path
        try:
            roster = None if path is None else Roster(path)
        except OSError as error:
            raise ValueError(f"tenants.path cannot be read: {error}") from error
        windows = Windows.open(settings.cache, telemetry)
        try:
            yield cls(settings.server.max_rollouts, roster, windows, telemetry)
        finally:
            await windows.close()

    def tenant_of(self, key: str | None) -> Tenant:
        """Who calls with ``key``; raises ``Rejected`` (``unauthenticated``)."""
        if self._roster is None:
            return OPEN
        if key is None:
            raise Rejected(
                FailureKind.UNAUTHENTICATED,
                "this service wants a key: send it as `Authorization: Bearer assay_...`",
            )
        tenant = self._roster.holder(key)
        if tenant is None:
            raise Rejected(
                FailureKind.UNAUTHENTICATED,
                "nobody here has this key: it may have been revoked, or be another service's",
            )
        return tenant

    @asynccontextmanager
    async def admit(
        self, visitor: Visitor, recipe: Recipe, items: Sequence[Rollout | Failure]
    ) -> AsyncIterator[Permit]:
        """Hold a permit for ``items`` while the block runs.

        Raises ``Rejected``: ``forbidden`` for what the tenant may not use, ``invalid`` for a call that can never fit,
        ``over_quota`` for one that fits later into what the tenant may spend, ``overloaded`` into what the service can.
        """
        tenant, rollouts = visitor.tenant, len(items)
        why_not = tenant.forbids(recipe)
        if why_not is not None:
            raise Rejected(FailureKind.FORBIDDEN, why_not)
        self._check_room(tenant, rollouts)
        started = time.monotonic()
        self._change(tenant, rollouts)
        try:
            await self._quotas.reserve(tenant, sum(map(tokens_of, items)))
            yield Permit(visitor, items)
            self._learn_rate(rollouts / max(time.monotonic() - started, 1e-6))
        finally:
            self._change(tenant, -rollouts)

    async def give_back(self, permit: Permit, unspent: Sequence[bool]) -> None:
        """What was reserved for those items of a permit that cost nothing."""
        tokens = sum(tokens_of(item) for item, free in zip(permit.items, unspent, strict=True) if free)
        await self._quotas.give_back(permit.visitor.tenant, tokens)

    async def standings(self, tenant: Tenant) -> Sequence[Standing]:
        """What the tenant may still spend."""
        return await self._quotas.standings(tenant)

    async def parts(self) -> dict[str, bool]:
        """What can be said of readiness, by name; the service judges without any of it."""
        if self._roster is None:
            return {}
        return {"tenants": self._roster.good, "quotas": await self._windows.ready()}

    def _check_room(self, tenant: Tenant, rollouts: int) -> None:
        own = tenant.terms.max_in_flight
        own_in_flight = self._in_flight_of[tenant.name]
        most = self._max_rollouts if own is None else min(own, self._max_rollouts)
        if rollouts > most:
            whom = "this service" if most == self._max_rollouts else f"tenant {tenant.name}"
            raise Rejected(
                FailureKind.INVALID,
                f"{rollouts} rollouts in one call, {whom} has room for at most {most}: split the call",
                pointer="/rollouts",
            )
        if own is not None and own_in_flight + rollouts > own:
            raise Rejected(
                FailureKind.OVER_QUOTA,
                f"{own_in_flight} rollouts of tenant {tenant.name} are under judgement and {own} may be: "
                "try again later",
                retry_after_s=self._retry_after_s(own_in_flight),
            )
        if self._in_flight + rollouts > self._max_rollouts:
            raise Rejected(
                FailureKind.OVERLOADED,
                f"{self._in_flight} rollouts are under judgement and {self._max_rollouts} fit: try again later",
                retry_after_s=self._retry_after_s(self._in_flight),
            )

    def _change(self, tenant: Tenant, rollouts: int) -> None:
        self._in_flight += rollouts
        self._in_flight_of[tenant.name] += rollouts
        self._telemetry.rollouts_in_flight.labels(tenant.name).set(self._in_flight_of[tenant.name])

    def _learn_rate(self, rollouts_per_s: float) -> None:
        if self._rollouts_per_s is None:
            self._rollouts_per_s = rollouts_per_s
        else:
            self._rollouts_per_s += _WEIGHT_OF_NEWEST * (rollouts_per_s - self._rollouts_per_s)

    def _retry_after_s(self, in_flight: int) -> float:
        """The time that what is in flight takes at the rate seen of late."""
        if self._rollouts_per_s is None:
            return 1.0
        return min(max(in_flight / self._rollouts_per_s, 1.0), _LONGEST_RETRY_AFTER_S)

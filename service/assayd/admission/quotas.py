"""What a tenant may spend: reserved before its rollouts are judged, given back where nothing was spent."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ..domain.failure import Failure, FailureKind, Rejected
from ..domain.rollout import Rollout
from ..stores.windows import Window, Windows
from .tenants import Quota, Tenant

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Standing:
    """One of a tenant's quotas now: how much is left, and in how many seconds its window ends."""

    quota: Quota
    remaining: int
    reset_s: float


class Quotas:
    """The quotas of all tenants."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    async def reserve(self, tenant: Tenant, tokens: int) -> None:
        """Take one call and its tokens from every quota of the tenant, or nothing from any.

        Raises ``Rejected``: ``invalid`` for a call that no quota ever has room for, ``over_quota`` for one that has to
        wait, and says how long.
        """
        taken: list[Quota] = []
        for quota in tenant.terms.quotas:
            cost = _cost(quota, tokens)
            if cost > quota.amount:
                refusal = _too_large(quota, cost)
            elif cost == 0 or await self._windows.take(_window(quota), tenant.name, cost):
                taken.append(quota)
                continue
            else:
                refusal = await self._spent(quota, tenant, cost)
            for other in taken:
                await self._windows.give_back(_window(other), tenant.name, _cost(other, tokens))
            raise refusal

    async def give_back(self, tenant: Tenant, tokens: int) -> None:
        """Tokens that were reserved and not spent."""
        for quota in tenant.terms.quotas:
            if tokens and quota.unit == "tokens":
                await self._windows.give_back(_window(quota), tenant.name, tokens)

    async def standings(self, tenant: Tenant) -> Sequence[Standing]:
        """Every quota of the tenant as it stands."""
        quotas = tenant.terms.quotas
        levels = await asyncio.gather(*(self._windows.level(_window(one), tenant.name) for one in quotas))
        return [
            Standing(quota, max(int(quota.amount - level.used(quota.per_s)), 0), level.left_s)
            for quota, level in zip(quotas, levels, strict=True)
        ]

    async def _spent(self, quota: Quota, tenant: Tenant, cost: int) -> Rejected:
        window = _window(quota)
        level = await self._windows.level(window, tenant.name)
        return Rejected(
            FailureKind.OVER_QUOTA,
            f"tenant {tenant.name} may spend {quota.amount} {quota.unit} in {quota.per_s} s, and this call's "
            f"{cost} do not fit now",
            retry_after_s=max(level.wait_s(window, cost), 1.0),
        )


def tokens_of(item: Rollout | Failure) -> int:
    """What judging ``item`` is reckoned as: its completion's tokens, and a token for four characters of its prompt."""
    if isinstance(item, Failure):
        return 0
    characters = sum(len(message.content) for message in item.prompt)
    return len(item.completion) + -(-characters // _CHARACTERS_PER_TOKEN)


def _too_large(quota: Quota, cost: int) -> Rejected:
    return Rejected(
        FailureKind.INVALID,
        f"this call is reckoned at {cost} tokens, and the quota is {quota.amount} in {quota.per_s} s: split the call",
        pointer="/rollouts",
    )


def _cost(quota: Quota, tokens: int) -> int:
    return tokens if quota.unit == "tokens" else 1


def _window(quota: Quota) -> Window:
    return Window(quota.unit, quota.amount, quota.per_s)

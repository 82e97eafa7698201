"""The tenants file: one TOML table a tenant.

[atlas]
weight = 2.0                     # served twice as many tokens as a tenant of weight 1 when both wait
priority = "training"            # the highest class it may ask for
max_in_flight = 512              # rollouts under judgement at once
quotas = [{ requests = 600 }, { tokens = 2_000_000, per_s = 60 }]
routes = ["/score/token"]        # absent: all of them; the same for tasks and models
keys = [{ sha256 = "...", added = 2026-11-21 }]
"""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import msgspec

from ..domain.caller import ANYBODY, Caller, Priority
from ..domain.provenance import Recipe

NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""What a tenant may be called."""
_Name = Annotated[str, msgspec.Meta(pattern=NAME)]
"""Of a tenant; it becomes part of metrics and of names in Redis."""
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Quota(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many calls, or so many estimated tokens, in any ``per_s`` seconds."""

    requests: Positive | None = None
    tokens: Positive | None = None
    per_s: Positive = 60

    def __post_init__(self) -> None:
        if (self.requests is None) == (self.tokens is None):
            raise ValueError("a quota counts either requests or tokens")

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if self.requests is None else "requests"

    @property
    def amount(self) -> int:
        """How many fit into one window."""
        return self.requests or self.tokens or 0

    @property
    def name(self) -> str:
        """What tells it from the tenant's other quotas: ``tokens-60s``."""
        return f"{self.unit}-{self.per_s}s"


class StoredKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a key."""

    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    added: date | None = None


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """On which terms a tenant is served; ``operator`` may read the metrics and send engines to sleep."""

    weight: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    priority: Priority = Priority.TRAINING
    max_in_flight: Positive | None = None
    quotas: tuple[Quota, ...] = ()
    routes: frozenset[str] | None = None
    tasks: frozenset[str] | None = None
    models: frozenset[str] | None = None
    operator: bool = False


class Entry(Terms, frozen=True, forbid_unknown_fields=True):
    """One table of the file. All of its keys hold, so that a new one can go out before the old one is revoked."""

    keys: tuple[StoredKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenant:
    """A team that calls, and its terms."""

    name: str
    terms: Terms

    def forbids(self, recipe: Recipe) -> str | None:
        """Why the tenant may not have rollouts judged by ``recipe``; None where it may."""
        models = {recipe.model.name, *(model.name for model in recipe.other_models.values())}
        wrong = _beyond(models, self.terms.models)
        if wrong:
            return f"tenant {self.name} may not use the model {wrong}"
        wrong = _beyond(() if recipe.task is None else (recipe.task,), self.terms.tasks)
        return f"tenant {self.name} may not use the task {wrong}" if wrong else None

    def forbids_route(self, route: str) -> bool:
        """Whether the tenant may not call ``route``."""
        return bool(_beyond((route,), self.terms.routes))


@dataclass(frozen=True, slots=True)
class Visitor:
    """A tenant at the door, and the class in which its call waits."""

    tenant: Tenant
    priority: Priority

    @classmethod
    def of(cls, tenant: Tenant, asked: Priority | None) -> "Visitor":
        """``asked`` holds unless it is above the tenant's highest class, which is also what silence means."""
        highest = tenant.terms.priority
        rank = list(Priority).index
        return cls(tenant, highest if asked is None else max(asked, highest, key=rank))

    @property
    def caller(self) -> Caller:
        """The same for the queues in front of the engines."""
        return Caller(self.tenant.name, self.tenant.terms.weight, self.priority)


OPEN: Final = Tenant(ANYBODY.tenant, Terms(operator=True))
"""Everybody, on a service without a tenants file."""
ANYONE: Final = Visitor.of(OPEN, None)


def read_tenants(path: Path) -> Mapping[str, Entry]:
    """The tables of the file by name.

    Raises ``OSError`` where it cannot be read and ``ValueError`` with the place of whatever is wrong in it.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    entries = {}
    for name, table in tables.items():
        try:
            entries[msgspec.convert(name, _Name)] = msgspec.convert(table, Entry)
        except msgspec.ValidationError as error:
            raise ValueError(f"{path}, tenant {name}: {error}") from error
    holders: dict[str, str] = {}
    for name, entry in entries.items():
        for key in entry.keys:
            if key.sha256 in holders:
                raise ValueError(f"{path}: {holders[key.sha256]} and {name} hold the same key")
            holders[key.sha256] = name
    return entries


def _beyond(asked: Collection[str], allowed: Collection[str] | None) -> str | None:
    """The first of ``asked`` that is not allowed."""
    return None if allowed is None else min(set(asked) - set(allowed), default=None)

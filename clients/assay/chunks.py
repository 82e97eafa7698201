"""Cuts a call into parts that fit into one request each. Every rollout is turned into JSON once."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .configuration import Limits

Rollout = Mapping[str, Any]

_SEPARATORS: Final = (",", ":")


@dataclass(frozen=True, slots=True)
class Sent:
    """One rollout as it goes out: its place in the call, its id, its JSON, and how many tokens it says it has."""

    index: int
    id: str
    json: bytes
    tokens: int | None


@dataclass(frozen=True, slots=True)
class Unsendable:
    """One rollout that is no JSON: it fails here, and the others go on."""

    index: int
    id: str
    detail: str


def encoded(rollouts: Sequence[Rollout]) -> tuple[list[Sent], list[Unsendable]]:
    """All rollouts as JSON, but for those that have none (NaN, half a surrogate pair, an object of another kind).

    A rollout without an id gets its place in the call. Tensors and arrays become lists.
    """
    sent: list[Sent] = []
    unsendable: list[Unsendable] = []
    for index, rollout in enumerate(rollouts):
        said = rollout.get("id")
        name = str(index) if said is None else str(said)
        try:
            sent.append(Sent(index, name, to_json({**rollout, "id": name}), _tokens(rollout)))
        except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError
            unsendable.append(Unsendable(index, name, f"it cannot be sent as JSON: {error}"))
    return sent, unsendable


def to_json(value: object) -> bytes:
    """JSON as the service takes it: UTF-8, and no NaN. Raises ``TypeError`` and ``ValueError``."""
    return json.dumps(
        value, allow_nan=False, ensure_ascii=False, separators=_SEPARATORS, default=_listed
    ).encode()


def body_of(said: bytes, rollouts: Iterable[Sent], timeout_s: float) -> bytes:
    """A request's body: ``said`` is a JSON object of all its other fields."""
    fields = said[1:-1] + b"," if len(said) > len(b"{}") else b""
    listed = b",".join(sent.json for sent in rollouts)
    return b'{%s"timeout_s":%s,"rollouts":[%s]}' % (fields, to_json(timeout_s), listed)


def cut(sent: Sequence[Sent], limits: Limits, group_of: Callable[[int], object] | None) -> list[list[Sent]]:
    """Parts of at most ``max_rollouts`` rollouts and ``max_bytes`` bytes, in order.

    With ``group_of``, which tells the group of the rollout at a place, no group is cut apart, however large it is.
    """
    parts: list[list[Sent]] = []
    size = 0
    for unit in _units(sent, group_of):
        weight = sum(len(one.json) + 1 for one in unit)
        fits = (
            parts and len(parts[-1]) + len(unit) <= limits.max_rollouts and size + weight <= limits.max_bytes
        )
        if fits:
            parts[-1].extend(unit)
            size += weight
        else:
            parts.append(list(unit))
            size = weight
    return parts


def _units(sent: Sequence[Sent], group_of: Callable[[int], object] | None) -> Iterator[list[Sent]]:
    if group_of is None:
        yield from ([one] for one in sent)
        return
    groups: dict[object, list[Sent]] = {}
    for one in sent:
        groups.setdefault(group_of(one.index), []).append(one)
    yield from groups.values()


def _tokens(rollout: Rollout) -> int | None:
    completion = rollout.get("completion")
    if not isinstance(completion, Mapping):
        return None
    for name in ("token_ids", "offsets"):
        if completion.get(name) is not None:
            return len(completion[name])
    return None


def _listed(value: object) -> object:
    tolist = getattr(value, "tolist", None)
    if tolist is None:
        raise TypeError(f"a {type(value).__name__} is not JSON")
    return tolist()

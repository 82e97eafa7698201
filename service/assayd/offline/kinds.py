"""The annotations that a data set can be given: one line each, and everything else treats them alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Shape = Mapping[str, Any]
"""Names and types of values: ``s`` text, ``f`` float, ``i`` integer, ``b`` truth, ``[x]`` a list; else a struct."""

_COMMON: Final[Shape] = {
    "status": "s",
    "failure": {"kind": "s", "detail": "s", "critique": "s"},
    "key": "s",
}
_DENSE: Final[Shape] = {
    "rewards": ["f"],
    "intrinsic": ["f"],
    "offsets": [["i"]],
    "token_ids": ["i"],
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One annotation: the route that makes it, and its fields that get a typed column of their own.

    ``dense``: its ``rewards`` has one number per completion token. The other fields of a result travel as JSON.
    ``takes``: what only its rollouts may carry.
    """

    name: str
    path: str
    dense: bool
    fields: Shape
    takes: tuple[str, ...] = ()


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "token",
            "/score/token",
            True,
            {
                **_COMMON,
                **_DENSE,
                "critique": "s",
                "queried": "b",
                "probs": ["f"],
                "ref_logprobs": ["f"],
                "branch": "s",
            },
        ),
        Kind(
            "segment",
            "/score/segment",
            True,
            {**_COMMON, **_DENSE, "sequence_score": "f", "entropies": ["f"]},
        ),
        Kind(
            "rewrite",
            "/rewrite",
            False,
            {
                **_COMMON,
                "rewritten": "s",
                "error_step": "i",
                "verified": "b",
                "correct": "b",
                "edit_distance": "i",
                "edit_ratio": "f",
                "prefix_preserved": "b",
                "weights": ["f"],
                "offsets": [["i"]],
                "token_ids": ["i"],
                "critique": "s",
            },
        ),
        Kind(
            "sequence",
            "/score/sequence",
            False,
            {
                **_COMMON,
                "reward": "f",
                "value": "f",
                "advantage": "f",
                "keep": "b",
                "sampling_weight": "f",
            },
            ("value", "group"),
        ),
    )
}


_TAKEN_BY_SOME: Final = frozenset(name for kind in KINDS.values() for name in kind.takes)


def for_kind(kind: Kind, rollout: Mapping[str, Any]) -> dict[str, Any]:
    """A rollout without what this annotation does not take."""
    return {
        name: value for name, value in rollout.items() if name not in _TAKEN_BY_SOME or name in kind.takes
    }


def failed(kind: str, detail: str) -> dict[str, Any]:
    """The result of a row that could not be judged, as on the wire."""
    return {"status": "failed", "failure": {"kind": kind, "detail": detail}}


def is_ok(result: Mapping[str, Any]) -> bool:
    """Whether a result is an annotation and no failure."""
    return bool(result["status"] == "ok")


def lasting(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result without what differs from run to run: the name of the call, and how long it took."""
    kept = {name: value for name, value in result.items() if name not in ("id", "provenance")}
    if "provenance" in result:
        kept["key"] = result["provenance"]["key"]
    return kept

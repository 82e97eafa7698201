"""What the recipe says of a reward, and what tells one reward from another."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .advantages import ValueSource
from .components import Component

BASELINES: Final = {
    ValueSource.HEAD: "A-LoL: value of the reference policy at the prompt, by a trained head",
    ValueSource.PROVIDED: "A-LoL if the caller's values are those of the reference policy",
    ValueSource.GROUP_MEAN: "not A-LoL: mean reward of the group within this call, as in GRPO",
    ValueSource.NONE: "none: no advantages",
}
"""What each source of values makes of an advantage."""


def reward_identity(components: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a reward is made of, apart from names that may change: revisions, kinds, weights and activations."""
    return [_pinned({key: value for key, value in part.items() if key != "name"}) for part in components]


def _pinned(value: Any) -> Any:
    """``value`` without the names of models, which are paths where they lie in folders, and without their engines."""
    if not isinstance(value, Mapping):
        return value
    if {"name", "revision"} <= value.keys() <= {"name", "revision", "engine"}:
        return value["revision"]
    return {key: _pinned(inner) for key, inner in value.items()}


def record_of(part: Component) -> dict[str, Any]:
    """A component as the recipe reports it."""
    return {
        "name": part.name,
        "kind": part.kind.value,
        "weight": part.weight,
        "activation": part.activation.value,
        **part.record,
    }

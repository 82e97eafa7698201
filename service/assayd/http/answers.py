"""What goes out whatever was judged: wire shapes made from domain objects and encoded once, by msgspec.

The same shapes give the answers' half of the OpenAPI document.
"""

from collections.abc import Iterable
from typing import Any, Final, TypeVar

import msgspec

from ..domain.failure import Failure
from ..domain.provenance import Provenance, Recipe
from ..domain.text import Span

RECIPE: Final = "Reward-Recipe"
"""The header that names the recipe in every answer judged by one, and in the refusal of a call that pins another."""

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of every answer shape; absent optional fields are left out."""


class WireProvenance(msgspec.Struct, frozen=True):
    """How one result came to be; `key` identifies rollout and recipe together."""

    key: str
    cached: bool
    usage: dict[str, int]
    timings: dict[str, float]


class WireFailure(Answer, frozen=True):
    """Why a rollout could not be judged."""

    kind: str
    detail: str
    critique: str | None = None


class Unjudged(msgspec.Struct, frozen=True, tag_field="status", tag="failed"):
    """A rollout that could not be judged: it has no rewards, unless zeros were asked for with `on_error`."""

    id: str
    failure: WireFailure
    rewards: tuple[float, ...] | msgspec.UnsetType = msgspec.UNSET


class WireRecipe(msgspec.Struct, frozen=True):
    """Everything besides the rollouts that can change the answer; `id` is its digest."""

    id: str
    method: str
    task: str | None
    mode: str
    model: dict[str, str]
    other_models: dict[str, dict[str, str]]
    prompt: dict[str, str] | None
    tokenizer: dict[str, str] | None
    options: dict[str, Any]
    service_version: str


class Batch(msgspec.Struct, frozen=True):
    """What holds for the call as a whole; `extrinsic_normalizer` belongs into the next call."""

    extrinsic_normalizer: dict[str, float]


class Problem(Answer, frozen=True):
    """RFC 9457 problem details: why the whole call was refused."""

    type: str
    title: str
    status: int
    kind: str
    detail: str
    pointer: str | None = None
    retry_after_s: float | None = None
    errors: list[dict[str, str]] | None = None


def unless_none(value: T | None) -> T | msgspec.UnsetType:
    """What is there; a field whose value is None is left out."""
    return msgspec.UNSET if value is None else value


def places(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """Start and end of each token's characters."""
    return [(span.start, span.end) for span in spans]


def recipe_answer(recipe: Recipe) -> WireRecipe:
    """A recipe as it is reported."""
    return WireRecipe(id=recipe.id, **recipe.identity())


def unjudged(id: str, failure: Failure) -> Unjudged:
    """The answer for one rollout that could not be judged."""
    return Unjudged(
        id=id,
        failure=WireFailure(kind=failure.kind, detail=failure.detail, critique=failure.critique),
        rewards=unless_none(failure.rewards),
    )


def provenance_answer(provenance: Provenance) -> WireProvenance:
    """How a result came to be."""
    usage = provenance.usage
    return WireProvenance(
        key=provenance.key,
        cached=provenance.cached,
        usage={
            "calls": usage.calls,
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        },
        timings={"elapsed_s": round(provenance.elapsed_s, 6)},
    )

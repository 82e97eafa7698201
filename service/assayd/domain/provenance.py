"""Where a reward comes from: the recipe is both the cache key and what provenance reports, so they cannot drift."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from .rollout import Rollout


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model pinned by revision: a commit, or the digest of its files.

    ``engine`` is what computes with it, and in which numbers (``vllm bfloat16``): two engines round differently.
    """

    name: str
    revision: str
    engine: str | None = None

    def identity(self) -> dict[str, str]:
        """The model as plain JSON values."""
        told = {"name": self.name, "revision": self.revision}
        return told if self.engine is None else {**told, "engine": self.engine}


@dataclass(frozen=True, slots=True)
class PromptRef:
    """A prompt file pinned by the sha256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What an annotation cost."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Provenance:
    """How one annotation came to be. ``elapsed_s`` is the time this call waited for it."""

    key: str
    cached: bool
    usage: Usage
    elapsed_s: float


@dataclass(frozen=True)
class Recipe:
    """Everything besides the rollout that can change the answer.

    ``other_models`` are those that ``model`` needs beside it, by what they do: ``entropy``, ``reference``.
    ``cacheable`` is False where two runs may differ (sampling without a seed); it is not part of the identity.
    """

    method: str
    mode: str
    model: ModelRef
    options: Mapping[str, Any]
    service_version: str
    task: str | None = None
    prompt: PromptRef | None = None
    tokenizer: ModelRef | None = None
    other_models: Mapping[str, ModelRef] = field(default_factory=dict)
    cacheable: bool = field(default=True, compare=False)

    def identity(self) -> dict[str, Any]:
        """The recipe as plain JSON values: what is hashed and what is reported."""
        return {
            "method": self.method,
            "task": self.task,
            "mode": self.mode,
            "model": self.model.identity(),
            "other_models": {use: model.identity() for use, model in self.other_models.items()},
            "prompt": None if self.prompt is None else asdict(self.prompt),
            "tokenizer": None if self.tokenizer is None else self.tokenizer.identity(),
            "options": dict(self.options),
            "service_version": self.service_version,
        }

    @cached_property
    def id(self) -> str:
        """``sha256:`` and the hex digest of ``identity``: the identity of the reward."""
        return "sha256:" + _digest(self.identity())

    def key(self, rollout: Rollout) -> str:
        """The cache key of one annotation: the recipe and all of the rollout but its id and its group.

        No annotation depends on those: what a group makes of its members is reckoned call by call.
        """
        completion = rollout.completion
        return _digest(
            {
                "recipe": self.id,
                "prompt": [[message.role, message.content] for message in rollout.prompt],
                "text": completion.text,
                "token_ids": completion.alignment.token_ids,
                "offsets": [[span.start, span.end] for span in completion.alignment.token_spans],
                "special": sorted(completion.special),
                "mask": completion.mask,
                "truncated": completion.truncated,
                "extrinsic": rollout.extrinsic,
                "outcome": rollout.outcome,
                "reference": rollout.reference,
                "correct": rollout.correct,
                "entropies": rollout.entropies,
                "value": rollout.value,
            }
        )


def _digest(value: object) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()

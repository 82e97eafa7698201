"""A segment reward model: a causal backbone and a linear head that is read at the last token of a segment.

One road for every layout (papers.md 2.2): the backbone by ``AutoModel``, the head from the checkpoint's own tensors.
What a config says of ``normalize_reward``, ``mean`` and ``std`` is left to the normalizer: scores are raw.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR
from typing import Any, cast

from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging

from ...settings import EngineSettings
from ..model_files import read_card
from .attention_watch import make_watchable
from .forward import Backbone
from .heads import PICKLES, WEIGHTS, Head, find_head
from .loading import Loaded, load


@dataclass(frozen=True, slots=True)
class SegmentModel:
    """A loaded model: ``card`` is its ``assay.json``, ``watchable`` whether its attention can be read."""

    loaded: Loaded
    backbone: Backbone
    head: Head
    card: Mapping[str, Any] | None
    watchable: bool


def load_segment_model(settings: EngineSettings) -> SegmentModel:
    """Load the segment model that the settings name.

    Raises ``ValueError`` with what to do: no scalar head or more than one, tensors that the checkpoint lacks, a model
    that reads both ways.
    """
    notes: dict[str, Any] = {}

    def build(name: str, options: Mapping[str, Any]) -> PreTrainedModel:
        with _quiet():
            model, found = AutoModel.from_pretrained(name, output_loading_info=True, **options)
        notes.update(found)
        return cast(PreTrainedModel, model)

    loaded = load(settings, build)
    name, model = str(settings.model), loaded.model
    backbone = Backbone(model, name)
    _refuse_missing(name, [*notes["missing_keys"], *(key for key, *_ in notes["mismatched_keys"])])
    revision = getattr(model.config, "_commit_hash", None)
    files = WEIGHTS + PICKLES if settings.allow_pickle else WEIGHTS
    head = find_head(name, revision, model.config, notes["unexpected_keys"], files)
    watchable = make_watchable(model)
    return SegmentModel(loaded, backbone, head.to(model.device), read_card(name, revision), watchable)


def _refuse_missing(name: str, keys: list[str]) -> None:
    if keys:
        raise ValueError(
            f"{name} lacks {len(keys)} of the backbone's tensors, such as {min(keys)}: they would be random. "
            "Is the checkpoint whole, and does its config.json name the right model_type?"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back the report that a head is unexpected: it is what is looked for."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)

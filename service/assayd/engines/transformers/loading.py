"""Loads a model and its tokenizer from the hub or a folder, and says exactly which ones they are."""

import os
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final, TypeAlias, cast
from weakref import WeakValueDictionary

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from ...domain.provenance import ModelRef
from ...settings import EngineSettings
from ..model_files import folder_digest
from ..rendering import Renderer

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PASS_TOKENS: Final = 4096
CPU_PASS_TOKENS: Final = 512
"""A CPU core is busy with so many already; of more at once it reads fewer in a second, for they leave its caches."""

Build: TypeAlias = Callable[[str, Mapping[str, Any]], PreTrainedModel]
"""Makes the model of a name, with these options of ``from_pretrained``."""

_loaded: WeakValueDictionary[tuple[Hashable, ...], "Loaded"] = WeakValueDictionary()
_one_at_a_time = Lock()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Loaded:
    """A model, its tokenizer, and its pin. Those who use it may share it: nobody changes it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    ref: ModelRef

    @property
    def pass_tokens(self) -> int:
        """Padded tokens of one forward pass: what bounds its memory, and how long others wait for it."""
        return CPU_PASS_TOKENS if self.model.device.type == "cpu" else PASS_TOKENS

    @property
    def vocabulary(self) -> int:
        """How many ids the model has embeddings for."""
        return cast(torch.nn.Embedding, self.model.get_input_embeddings()).num_embeddings

    def context(self, max_model_len: int | None) -> int | None:
        """The most tokens it reads at once, None where nothing bounds them."""
        config = self.model.config.get_text_config(decoder=True)
        lengths = (max_model_len, getattr(config, "max_position_embeddings", None))
        return min((length for length in lengths if length is not None), default=None)

    def renderer(self, max_model_len: int | None) -> Renderer:
        """The way into the model."""
        return Renderer(
            self.tokenizer, self.ref, context=self.context(max_model_len), vocabulary=self.vocabulary
        )


def causal(name: str, options: Mapping[str, Any]) -> PreTrainedModel:
    """Make a causal language model."""
    return cast(PreTrainedModel, AutoModelForCausalLM.from_pretrained(name, **options))


def load(settings: EngineSettings, build: Build = causal) -> Loaded:
    """Load ``settings.model`` as ``build`` does; code that comes with a model is never run, pickles are not read.

    What is loaded already, for another use of the same weights, is not loaded again. The revision of a hub model is
    its commit, that of a folder the digest of its files. Raises ``ValueError`` with what to do about it.
    """
    if settings.model is None:
        raise ValueError("the transformers engine needs a model: set `model` to a hub name or a local folder")
    leave_a_core_to_the_callers()
    name, device = settings.model, _device(settings.device)
    own = folder_digest(name, settings.revision)
    dtype = _dtype(settings.dtype, device)
    with _one_at_a_time:
        key = (name, own or settings.revision, dtype, device, settings.allow_pickle, build)
        loaded = _loaded.get(key)
        if loaded is None:
            # The revision of a folder is a digest, which the hub client does not know.
            options = {
                "revision": None if own else settings.revision,
                "dtype": dtype,
                # None takes what there is.
                "use_safetensors": None if settings.allow_pickle else True,
                # Said, for transformers would ask whoever sits at the terminal.
                "trust_remote_code": False,
            }
            loaded = _loaded[key] = _load(name, own, options, device, build)
        return loaded


def _load(
    name: str, own: str | None, options: Mapping[str, Any], device: torch.device, build: Build
) -> Loaded:
    # Standard error is for the service's log.
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=options["revision"], trust_remote_code=False)
        model = build(name, options)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot load the model {name!r}: {error}\nIs it a folder with config.json, tokenizer and weights, "
            "or the name of a hub model that this machine can download or has in its cache? Weights are read from "
            "safetensors only, unless `allow_pickle` is set; a model that brings its own code is not hosted"
        ) from error
    numbers = str(options["dtype"]).removeprefix("torch.")
    pin = own or getattr(model.config, "_commit_hash", None) or options["revision"] or "unpinned"
    ref = ModelRef(name, pin, f"transformers {numbers}")
    # Module.to rather than the model's own, whose wrapper hides its signature from the type checker.
    return Loaded(torch.nn.Module.to(model, device), tokenizer, ref)


def leave_a_core_to_the_callers() -> None:
    """One thread fewer than cores for torch: two that share a core cost more than either gains."""
    torch.set_num_threads(min(torch.get_num_threads(), max(1, len(os.sched_getaffinity(0)) - 1)))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no CUDA device: set `device` to auto or cpu")
    return device


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}: choose auto, {', '.join(DTYPES)}")
    return DTYPES[name]

"""The way into a model that vLLM hosts: its tokenizer, its pin and its bounds, as the transformers engine has them."""

from typing import Any, Self

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ...domain.provenance import ModelRef
from ...settings import EngineSettings
from ..model_files import folder_digest
from ..rendering import Renderer


class TextSide:
    """What stands between texts and ids. ``context`` and ``vocabulary`` as ``Renderer`` has them."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, model: ModelRef, *, context: int, vocabulary: int
    ) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.context = context
        self.vocabulary = vocabulary
        self.renderer = Renderer(tokenizer, model, context=context, vocabulary=vocabulary)

    @classmethod
    def of(cls, settings: EngineSettings, own: str | None, config: Any) -> Self:
        """That of the settings' model; ``own`` is its digest if it is a folder, ``config`` vLLM's ``ModelConfig``."""
        name = str(settings.model)
        tokenizer = AutoTokenizer.from_pretrained(
            name, revision=None if own else settings.revision, trust_remote_code=False
        )
        commit = getattr(config.hf_config, "_commit_hash", None)
        numbers = str(config.dtype).removeprefix("torch.")
        model = ModelRef(name, own or commit or settings.revision or "unpinned", f"vllm {numbers}")
        return cls(tokenizer, model, context=config.max_model_len, vocabulary=config.get_vocab_size())


def pinned(settings: EngineSettings) -> str | None:
    """The digest of the folder that the settings name, None for a hub model; raises ``ValueError`` for another."""
    return None if settings.model is None else folder_digest(settings.model, settings.revision)

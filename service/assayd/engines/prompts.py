"""Writes a prompt as a model was trained to read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.rollout import Message, Role


def encode(tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...]) -> list[int]:
    """The prompt as the model was trained to read it: its chat template, or the contents as they are."""
    return left_truncated(tokenizer, messages, None)[0]


@dataclass(frozen=True, slots=True)
class Questions:
    """The way into a model that is asked for a reply.

    ``context`` is the most tokens that question and reply may have together (None: nothing bounds them), ``vocabulary``
    how many ids the model has embeddings for.
    """

    tokenizer: PreTrainedTokenizerBase
    model: str
    context: int | None
    vocabulary: int

    def encode(self, messages: tuple[Message, ...], reply_tokens: int) -> list[int]:
        """The ids of a question; raises ``AnnotationFailed``: ``too_long``, or ``engine``."""
        ids = encode(self.tokenizer, messages)
        if self.context is not None and len(ids) + reply_tokens > self.context:
            raise AnnotationFailed(
                FailureKind.TOO_LONG,
                f"the prompt has {len(ids)} tokens and the reply may have {reply_tokens}, "
                f"but {self.model} holds {self.context} in all",
            )
        # On CUDA such an id would end not one request but the process's use of the device.
        if not ids or max(ids) >= self.vocabulary:
            raise AnnotationFailed(
                FailureKind.ENGINE, f"the tokenizer of {self.model} gave no ids, or ids past its embeddings"
            )
        return ids


def left_truncated(
    tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...], longest: int | None
) -> tuple[list[int], int]:
    """The last ``longest`` tokens of the prompt, and how many were dropped.

    What the tokenizer itself puts in front (BOS) stays, as by its own truncation on the left.
    """
    text, marked = _written(tokenizer, messages)
    # A special token spelled in a message counts as that token here: prompts without a template need theirs.
    # Texts from outside must therefore be defanged by whoever puts them into a message.
    encoding: Mapping[str, Any] = tokenizer(
        text, add_special_tokens=marked, return_special_tokens_mask=True, verbose=False
    )
    ids = list(encoding["input_ids"])
    dropped = 0 if longest is None else max(0, len(ids) - longest)
    head = _leading_ones(encoding["special_tokens_mask"]) if marked and dropped else 0
    return (ids[:head] + ids[head + dropped :])[:longest], dropped


def _written(tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...]) -> tuple[str, bool]:
    """The text of the prompt, and whether the tokenizer has to add its special tokens to it."""
    if tokenizer.chat_template is None:
        return "".join(message.content for message in messages), True
    # Templates refuse an empty conversation: without a prompt, the completion answers an empty message.
    messages = messages or (Message(Role.USER, ""),)
    turns: list[dict[str, Any]] = [{"role": str(turn.role), "content": turn.content} for turn in messages]
    continued = messages[-1].role is Role.ASSISTANT
    text = tokenizer.apply_chat_template(
        turns, tokenize=False, add_generation_prompt=not continued, continue_final_message=continued
    )
    # The template has written the special tokens already.
    return cast(str, text), False


def _leading_ones(mask: list[int]) -> int:
    return next((index for index, value in enumerate(mask) if not value), len(mask))

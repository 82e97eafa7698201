"""Prompts as token ids, in the way the service shows them to a hosted model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from assayd.domain.rollout import Message, Role


@dataclass(frozen=True, slots=True)
class PromptRenderer:
    """Renders prompts for one tokenizer.

    A prompt goes through the chat template, or stands as it is where there is none; only its last
    ``max_prompt_length`` tokens are shown.
    """

    tokenizer: PreTrainedTokenizerBase
    max_prompt_length: int

    def prompts(self, prompts: Sequence[tuple[Message, ...]]) -> list[list[int]]:
        """The ids of prompts; one that would have none gets the token that begins texts, or that ends them."""
        tokenizer = self.tokenizer
        encoded = tokenizer(
            [self._text(prompt) for prompt in prompts],
            # A template has written them already.
            add_special_tokens=tokenizer.chat_template is None,
            return_attention_mask=False,
            return_special_tokens_mask=True,
        )
        first = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None][:1]
        marks = encoded["special_tokens_mask"]
        return [self._tail(ids, mask) or first for ids, mask in zip(encoded["input_ids"], marks, strict=True)]

    def _tail(self, ids: list[int], mask: list[int]) -> list[int]:
        """The last ``max_prompt_length`` tokens, of which what the tokenizer put in front (BOS) takes its share."""
        if len(ids) <= self.max_prompt_length:
            return ids
        added = 0 if self.tokenizer.chat_template is not None else (*mask, 0).index(0)
        head = ids[:added][: self.max_prompt_length]
        return head + ids[len(ids) - self.max_prompt_length + len(head) :]

    def _text(self, prompt: tuple[Message, ...]) -> str:
        if self.tokenizer.chat_template is None:
            return "".join(message.content for message in prompt)
        # Templates refuse an empty conversation.
        prompt = prompt or (Message(Role.USER, ""),)
        turns: list[dict[str, Any]] = [{"role": str(turn.role), "content": turn.content} for turn in prompt]
        # A prompt that ends with the assistant's words is a completion already begun.
        continued = prompt[-1].role is Role.ASSISTANT
        text = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=not continued, continue_final_message=continued
        )
        return str(text)

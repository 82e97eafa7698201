"""Builds rollouts from what a trainer has at hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from .offsets import decoded_offsets, encoded_offsets

Prompt = str | Sequence[Mapping[str, str]]


def rollout(
    prompt: Prompt,
    *,
    token_ids: Sequence[int] | None = None,
    text: str | None = None,
    tokenizer: Any = None,
    truncated: bool = False,
    **fields: Any,
) -> dict[str, Any]:
    """One rollout, in the best of the three ways to send a completion.

    ``token_ids`` alone: the service loads the tokenizer that the call names (``tokenizer={"name", "revision"}``), which
    has to be public. ``token_ids`` and ``tokenizer``, the object: text and offsets are worked out here, one range of
    characters per id, and the service needs no tokenizer; use it for private ones. ``text`` and ``tokenizer``: the text
    is cut here. ``text`` alone: the service cuts it by its own, and says how.

    ``tokenizer`` is one of transformers or a ``tokenizers.Tokenizer``. ``fields`` are the rollout's others: ``id``,
    ``extrinsic_reward``, ``reference``, ``correct``, ``mask``, ``entropies``, ``value``, ``group``. Rewards come back
    one per id of ``token_ids``, special tokens among them. Raises ``Unaligned`` where the tokenizer does not tell its
    tokens apart, and ``ValueError`` without a completion.
    """
    completion: dict[str, Any]
    if token_ids is not None and tokenizer is not None:
        if text is not None:
            raise ValueError("token_ids with a tokenizer say the text themselves: leave text out")
        decoded, offsets = decoded_offsets(tokenizer, token_ids)
        completion = {"text": decoded, "offsets": offsets}
    elif token_ids is not None:
        completion = {"token_ids": [int(one) for one in token_ids]}
        if text is not None:
            completion["text"] = text
    elif text is None:
        raise ValueError("a rollout needs token_ids or text")
    else:
        completion = {"text": text}
        if tokenizer is not None:
            completion["offsets"] = encoded_offsets(tokenizer, text)
    if truncated:
        completion["truncated"] = True
    given = {name: value for name, value in fields.items() if value is not None}
    return {"prompt": prompt, "completion": completion, **given}

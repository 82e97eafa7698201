"""Finds the scalar head of a reward model among the tensors of its checkpoint, whatever its author called it.

Known layouts: ``score`` or ``classifier`` of Hugging Face's token and sequence classification, a linear layer of any
name beside the backbone (OpenRLHF and the released segment models, whose config names it ``value_head_prefix``).
"""

from collections.abc import Mapping
from typing import Final

from transformers import PreTrainedConfig

LABELLED: Final = ("score", "classifier")
"""What Hugging Face calls a head."""


def scalar_head(name: str, config: PreTrainedConfig, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The head among tensors of the checkpoint ``name``, by their shapes: its name without ``.weight``.

    Raises ``ValueError`` where none is a scalar head, or several are and the config does not say which.
    """
    hidden = config.get_text_config(decoder=True).hidden_size
    heads = [
        key.removesuffix(".weight")
        for key, shape in shapes.items()
        if key.endswith(".weight") and shape == (1, hidden)
    ]
    wanted = getattr(config, "value_head_prefix", None)
    chosen = [wanted] if wanted in heads else heads
    if len(chosen) != 1:
        raise ValueError(f"{name} {_complaint(heads, shapes, hidden)}")
    return chosen[0]


def _complaint(heads: list[str], shapes: Mapping[str, tuple[int, ...]], hidden: int) -> str:
    if heads:
        return (
            f"has several scalar heads, {', '.join(sorted(heads))}: name the one to read as `value_head_prefix` in its "
            "config.json"
        )
    for prefix in LABELLED:
        shape = shapes.get(f"{prefix}.weight", ())
        if len(shape) == 2 and shape[1] == hidden:
            return (
                f"has a head of {shape[0]} labels, which is a classifier and gives no reward: train one with "
                "num_labels=1, for instance with `assayd train segment-rm`"
            )
    return (
        f"has no scalar head (a tensor of shape [1, {hidden}] beside the backbone): is it a language model? A "
        "segment model is made of one with `assayd train segment-rm`"
    )

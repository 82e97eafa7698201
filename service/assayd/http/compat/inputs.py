"""Inputs of one piece (a text, or token ids) as rollouts."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...domain.failure import Failure, FailureKind, Rejected
from ...domain.provenance import ModelRef
from ...domain.text import Unaligned
from ...settings import Settings
from ..bounds import too_long
from ..house import House
from ..schemas import WireCompletion, WireRollout
from .splitting import by_markers, in_tokens

TokenIds = tuple[int, ...]
Input = str | TokenIds
Inputs = str | TokenIds | tuple[str, ...] | tuple[TokenIds, ...]
"""What vLLM and SGLang take: one text, the ids of one, or several of either."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A rollout, and which tokens ``[start, end)`` of the ``length`` that were sent are its completion."""

    rollout: WireRollout
    start: int
    end: int
    length: int


def one_by_one(sent: Inputs, pointer: str) -> list[Input]:
    """The inputs of a call; raises ``Rejected`` where there are none."""
    several: Sequence[str | int | TokenIds] = (sent,) if isinstance(sent, str) else sent
    if not several:
        raise Rejected(FailureKind.INVALID, "there is nothing to judge", pointer=pointer)
    ids = tuple(token_id for token_id in several if isinstance(token_id, int))
    if ids:
        return [ids]
    return [one for one in several if not isinstance(one, int)]


def in_text(text: str, settings: Settings) -> WireRollout | Failure:
    """The rollout that a running text holds, or why it cannot be told."""
    if failure := too_long(len(text), settings.server):
        return failure
    try:
        place = by_markers(text, settings.compat)
    except Unaligned as error:
        return Failure(FailureKind.UNALIGNED, str(error))
    return WireRollout(prompt=place.prompt, completion=WireCompletion(text=text[place.start : place.end]))


async def pinned(house: House) -> ModelRef | None:
    """The tokenizer of the settings, loaded; None where they name none. Raises ``Rejected``."""
    settings = house.settings.compat
    if settings.tokenizer is None:
        return None
    return await house.tokenizer(settings.tokenizer, settings.tokenizer_revision)


async def in_input(sent: Input, house: House, tokenizer: ModelRef | None) -> Placed | Failure:
    """The rollout that a text or the ids of one hold, token by token, or why it cannot be told.

    Raises ``Rejected`` for ids where the settings name no tokenizer to read them by.
    """
    settings = house.settings.compat
    if tokenizer is None and not isinstance(sent, str):
        raise Rejected(
            FailureKind.INVALID,
            "token ids mean nothing without their tokenizer: name it with ASSAY_COMPAT__TOKENIZER, or send text",
            pointer="/input",
        )
    if failure := too_long(len(sent), house.settings.server):
        return failure
    try:
        alignment = await house.read(sent, tokenizer)
        place = in_tokens(by_markers(alignment.text, settings), alignment, with_ids=tokenizer is not None)
    except Unaligned as error:
        return Failure(FailureKind.UNALIGNED, str(error))
    rollout = WireRollout(prompt=place.prompt, completion=place.completion)
    return Placed(rollout, place.start, place.end, len(alignment))


async def rollouts(sent: Inputs, house: House, pointer: str = "/input") -> list[WireRollout | Failure]:
    """The rollouts of a call whose answers are one number each; raises as ``in_input`` does."""
    tokenizer = await pinned(house)
    asked: list[WireRollout | Failure] = []
    for one in one_by_one(sent, pointer):
        if isinstance(one, str):
            asked.append(in_text(one, house.settings))
        else:
            placed = await in_input(one, house, tokenizer)
            asked.append(placed if isinstance(placed, Failure) else placed.rollout)
    return asked

"""Brings tokens and characters of completions together, in each of the three ways they are sent."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ..domain.failure import AnnotationFailed, Failure, FailureKind
from ..domain.provenance import ModelRef
from ..domain.rollout import Completion
from ..domain.text import Alignment, Unaligned
from .alignment import PolicyTokenizer
from .alignment_loading import Tokenizers
from .preparing import estimated_tokens, prepared

OWN_TOKENIZER: Final = "assay/own"
"""What the service's own tokenizer is called: its folder is another one in each installation, recipes are not."""
AT_ONCE: Final = 16
"""Completions of one call that are aligned before another call has its turn."""


@dataclass(frozen=True, slots=True)
class RawCompletion:
    """A completion as it was sent: token ids, or text and offsets (ids optional), or text alone.

    ``offsets`` are half-open ranges of code points of ``text``. ``mask`` says which tokens the policy wrote.
    """

    text: str | None = None
    token_ids: tuple[int, ...] | None = None
    offsets: tuple[tuple[int, int], ...] | None = None
    mask: tuple[bool, ...] | None = None
    truncated: bool = False

    @property
    def estimated_tokens(self) -> int:
        """How many tokens it has, or may have."""
        listed = self.token_ids or self.offsets
        return estimated_tokens(self.text or "") if listed is None else len(listed)


class TextTokenizer:
    """Cuts texts by the policy's tokenizer or, where nobody knows that one, by the service's own."""

    def __init__(self, tokenizer: PolicyTokenizer, *, is_policy: bool) -> None:
        self._tokenizer = tokenizer
        self.is_policy = is_policy

    @property
    def model(self) -> ModelRef:
        """The tokenizer, pinned."""
        model = self._tokenizer.model
        return model if self.is_policy else replace(model, name=OWN_TOKENIZER)

    @property
    def end_id(self) -> int | None:
        """The id of its end marker."""
        return self._tokenizer.end_id

    async def encode(self, text: str) -> Alignment:
        """The tokens of ``text``, without any marker; raises ``AnnotationFailed`` (``unaligned``)."""
        try:
            alignment, _ = await prepared(estimated_tokens(text), self._tokenizer.encode, text)
        except Unaligned as error:
            raise AnnotationFailed(FailureKind.UNALIGNED, str(error)) from error
        return alignment


class Aligner:
    """Aligns completions, with policy tokenizers that it loads on demand.

    ``own`` is the folder of the service's own tokenizer, for texts that come without tokens and whose policy
    tokenizer is not named.
    """

    def __init__(self, own: Path, tokenizers: Tokenizers | None = None) -> None:
        self._own = own
        self._tokenizers = tokenizers or Tokenizers()
        self._service = Tokenizers()
        """Those that the settings name: what callers name neither delays nor displaces them."""

    async def pin(self, name: str, revision: str | None = None) -> ModelRef:
        """The policy tokenizer, loaded, by its exact revision; raises ``Rejected`` when it cannot be had."""
        return (await self._tokenizers.get(name, revision)).model

    async def text_tokenizer(self, tokenizer: ModelRef | None) -> TextTokenizer:
        """What cuts texts like the completions of a call: ``tokenizer``, or the service's own without one."""
        if tokenizer is None:
            return TextTokenizer(await self._service.get(str(self._own)), is_policy=False)
        return TextTokenizer(await self._tokenizers.get(tokenizer.name, tokenizer.revision), is_policy=True)

    async def read(self, sent: str | Sequence[int], tokenizer: ModelRef | None) -> Alignment:
        """The tokens of one running text, prompt and all, special tokens kept as text; or the text of ids.

        A text is cut by ``tokenizer``, or by the service's own. Raises ``Unaligned`` for what has no such reading.
        """
        if tokenizer is None and not isinstance(sent, str):
            raise Unaligned("token ids mean nothing without their tokenizer")
        if tokenizer is None:
            loaded = await self._service.get(str(self._own))
        else:
            loaded = await self._tokenizers.get(tokenizer.name, tokenizer.revision)
        if isinstance(sent, str):
            alignment, _ = await prepared(estimated_tokens(sent), loaded.encode, sent)
            return alignment
        return await prepared(len(sent), loaded.spell, sent)

    async def align_all(
        self,
        completions: Sequence[RawCompletion],
        tokenizer: ModelRef | None = None,
        *,
        own: tuple[str, str | None] | None = None,
    ) -> list[Completion | Failure]:
        """Align each completion, or say why it cannot be; in the order given, off the event loop.

        ``tokenizer`` is the policy's; without it, texts alone are cut by ``own`` (name and revision), or by the
        service's where that is None too. Raises ``Rejected`` when a tokenizer is needed that cannot be had. One
        that is not needed is not loaded.
        """
        named = spare = None
        if tokenizer is not None and any(sent.offsets is None for sent in completions):
            named = await self._tokenizers.get(tokenizer.name, tokenizer.revision)
        elif any(sent.offsets is None and sent.token_ids is None for sent in completions):
            spare = await self._service.get(*(own or (str(self._own), None)))
        aligned: list[Completion | Failure] = []
        for start in range(0, len(completions), AT_ONCE):
            some = completions[start : start + AT_ONCE]
            aligned += await prepared(
                sum(sent.estimated_tokens for sent in some), _outcomes, some, named, spare
            )
        return aligned


def _outcomes(
    some: Sequence[RawCompletion], named: PolicyTokenizer | None, own: PolicyTokenizer | None
) -> list[Completion | Failure]:
    return [_outcome(sent, named, own) for sent in some]


def _outcome(
    sent: RawCompletion, named: PolicyTokenizer | None, own: PolicyTokenizer | None
) -> Completion | Failure:
    try:
        alignment, special = _align(sent, named, own)
        if sent.mask is not None and len(sent.mask) != len(alignment):
            raise Unaligned(f"{len(sent.mask)} mask values but {len(alignment)} tokens")
    except Unaligned as error:
        return Failure(FailureKind.UNALIGNED, str(error))
    return Completion(alignment, special, sent.mask, sent.truncated)


def _align(
    sent: RawCompletion, named: PolicyTokenizer | None, own: PolicyTokenizer | None
) -> tuple[Alignment, frozenset[int]]:
    if sent.offsets is not None:
        if sent.text is None:
            raise Unaligned("offsets came without the text that they point into")
        return Alignment.from_offsets(sent.text, sent.offsets, sent.token_ids), frozenset()
    if sent.token_ids is not None:
        if named is None:
            raise Unaligned(
                "token ids mean nothing without their tokenizer: name it, or send text and offsets"
            )
        return named.align(sent.token_ids, sent.text)
    tokenizer = named or own
    if sent.text is None or tokenizer is None:
        raise Unaligned("a completion needs token_ids, or text with offsets, or text")
    return tokenizer.encode(sent.text)

"""A policy tokenizer: the bridge from token ids to the characters they stand for.

The text of a completion is what the tokenizer's own decoder makes of its ids. A text that a trainer sends
along must be that text in one of the ways trainers decode; anything else is refused.
"""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Final

from tokenizers import Tokenizer

from ..domain.provenance import ModelRef
from ..domain.text import Alignment, Span, Unaligned, refuse_surrogates
from .alignment_decoding import JOINED, Decoded, Step, clean_up, common_prefix, probe, replay, squeeze

EXCERPT_CHARACTERS: Final = 24
FIRST_SPACE_MARKS: Final = (
    '"type":"Prepend"',
    '"add_prefix_space":true',
    '"prepend_scheme":"always"',
    '"prepend_scheme":"first"',
)
"""How ``tokenizer.json`` says that a normalizer or pre-tokenizer puts a space before the first word."""


class PolicyTokenizer:
    """A tokenizer that is loaded and pinned. Safe to use from several threads.

    ``end_id`` is the id of its end marker, None where that is not known.
    """

    def __init__(self, model: ModelRef, tokenizer: Tokenizer, *, end_id: int | None = None) -> None:
        self.model = model
        self.end_id = end_id
        self._tokenizer = tokenizer
        self._steps = _steps(tokenizer)
        self._adds_first_space = any(
            mark in json.dumps(_state(part), separators=(",", ":"))
            for part in (tokenizer.normalizer, tokenizer.pre_tokenizer)
            for mark in FIRST_SPACE_MARKS
        )
        added = tokenizer.get_added_tokens_decoder()
        self._special_ids = frozenset(token_id for token_id, token in added.items() if token.special)

    def align(self, token_ids: Sequence[int], text: str | None = None) -> tuple[Alignment, frozenset[int]]:
        """Each token's characters, and the indices of the special tokens.

        Without ``text``, the text is what the ids decode to with special tokens skipped. With it, the
        alignment is to that very text, which must be what the ids decode to: with special tokens skipped or
        kept, with or without the space that the tokenizer puts before the first word, with or without Hugging
        Face's ``clean_up_tokenization_spaces``. Raises ``Unaligned`` when it is not, and for an id out of
        vocabulary.
        """
        if text is not None:
            refuse_surrogates(text)
        ids = tuple(token_ids)
        tokens = self._tokens_of(ids)
        special = self._special_among(ids)
        nearest, shared = "", -1
        for reading in self._readings(ids, tokens, special):
            if text is None or text == reading.text:
                return _alignment(reading, ids), special
            if text == clean_up(reading.text):
                return _alignment(squeeze(reading, text), ids), special
            if common_prefix(reading.text, text) > shared:
                nearest, shared = reading.text, common_prefix(reading.text, text)
        raise Unaligned(_difference(nearest, text or "", shared))

    def encode(self, text: str) -> tuple[Alignment, frozenset[int]]:
        """Tokenize a text that came without ids; no special tokens are added.

        Where the ids do not decode to the text again (lower-casing, unknown words), the tokenizer's own
        offsets into the text count.
        """
        refuse_surrogates(text)
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        try:
            return self.align(encoding.ids, text)
        except Unaligned:
            alignment = Alignment.from_offsets(text, encoding.offsets, encoding.ids)
        # An unknown word becomes a special token, but it is text and no marker.
        markers = (
            index
            for index in self._special_among(encoding.ids)
            if alignment.token_spans[index].of(text) in ("", encoding.tokens[index])
        )
        return alignment, frozenset(markers)

    def spell(self, token_ids: Sequence[int]) -> Alignment:
        """What the ids decode to with special tokens kept as text; raises ``Unaligned`` for unknown ids."""
        ids = tuple(token_ids)
        return _alignment(next(self._decodings(ids, self._tokens_of(ids))), ids)

    def _special_among(self, ids: Sequence[int]) -> frozenset[int]:
        return frozenset(index for index, token_id in enumerate(ids) if token_id in self._special_ids)

    def _tokens_of(self, ids: Sequence[int]) -> list[str]:
        tokens: list[str] = []
        for index, token_id in enumerate(ids):
            try:
                token = self._tokenizer.id_to_token(token_id)
            except OverflowError:
                token = None
            if token is None:
                raise Unaligned(f"token {index} has the id {token_id}, which {self.model.name} does not know")
            tokens.append(token)
        return tokens

    def _readings(
        self, ids: Sequence[int], tokens: Sequence[str], special: frozenset[int]
    ) -> Iterator[Decoded]:
        """The ways to read the ids: first the tokenizer's own, special tokens skipped."""
        for skipped in (special, frozenset[int]()) if special else (special,):
            kept = [index for index in range(len(ids)) if index not in skipped]
            for reading in self._decodings([ids[index] for index in kept], [tokens[index] for index in kept]):
                yield _with_skipped(reading, kept, len(ids))

    def _decodings(self, ids: Sequence[int], tokens: Sequence[str]) -> Iterator[Decoded]:
        def decode(start: int, end: int) -> str:
            return self._tokenizer.decode(ids[start:end], skip_special_tokens=False)

        text = decode(0, len(ids))
        own = replay(self._steps, tokens)
        exact = own is not None and own.text == text
        if own is None or not exact:
            own = probe(decode, len(ids), text)
        if own is None:
            raise Unaligned(
                f"the decoder of {self.model.name} does not tell tokens apart: send text and offsets"
            )
        yield own
        uncut = replay(self._steps, tokens, keep_first_space=True) if exact else None
        if uncut is not None and uncut.text != text:
            yield uncut
        elif self._adds_first_space and text.startswith(" "):
            yield squeeze(own, text[1:])


def _steps(tokenizer: Tokenizer) -> Sequence[Step]:
    decoder = _state(tokenizer.decoder)
    if decoder is None:
        return [JOINED]
    steps: Sequence[Step] = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    return steps


def _state(part: Any) -> Any:
    """A part of the tokenizer as it stands in ``tokenizer.json``."""
    return None if part is None else json.loads(part.__getstate__())


def _with_skipped(decoded: Decoded, kept: Sequence[int], tokens: int) -> Decoded:
    """All tokens again: one that was skipped is empty, and stands where the next one begins."""
    spans = [(0, 0)] * tokens
    for index, span in zip(kept, decoded.spans, strict=True):
        spans[index] = span
    place = len(decoded.text)
    skipped = set(range(tokens)).difference(kept)
    for index in reversed(range(tokens)):
        if index in skipped:
            spans[index] = (place, place)
        place = spans[index][0]
    return Decoded(decoded.text, spans)


def _alignment(decoded: Decoded, ids: tuple[int, ...]) -> Alignment:
    return Alignment(decoded.text, ids, tuple(Span(start, end) for start, end in decoded.spans))


def _difference(decoded: str, text: str, at: int) -> str:
    def excerpt(whole: str) -> str:
        return repr(whole[at : at + EXCERPT_CHARACTERS]) if at < len(whole) else "its end"

    message = f"the ids do not decode to the text: at character {at} the ids have {excerpt(decoded)}, "
    message += f"the text has {excerpt(text)}"
    if unicodedata.normalize("NFC", decoded) == unicodedata.normalize("NFC", text):
        message += " (they differ in Unicode normalization only: send the text as it was decoded)"
    return message

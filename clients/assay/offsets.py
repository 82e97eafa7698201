"""Which characters each token of a completion stands for, worked out where the policy's tokenizer is at hand.

So a private tokenizer need not reach the service: text and offsets do. The offsets are those that the service would
have found: every token has all characters that hold at least one of its bytes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from .errors import Unaligned
from .token_bytes import decoder_steps, token_bytes

Offsets = list[tuple[int, int]]

_BROKEN: Final = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER: Final = 4
_CONTEXT: Final = 16
_FURTHEST: Final = 256


def decoded_offsets(tokenizer: Any, token_ids: Sequence[int]) -> tuple[str, Offsets]:
    """The text that ids decode to, special tokens skipped, and half-open ranges of its characters, one per token.

    ``tokenizer`` is one of transformers or a ``tokenizers.Tokenizer``. A special token is empty and stands where the
    next token begins. Raises ``Unaligned`` where the tokenizer does not tell its tokens apart.
    """
    ids = [int(one) for one in token_ids]
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    special = _special_ids(tokenizer, backend)
    kept = [one for one in ids if one not in special]
    text, spans = _decoded(backend, kept)
    offsets: Offsets = []
    place = len(text)
    for one in reversed(ids):
        offsets.append((place, place) if one in special else spans.pop())
        place = offsets[-1][0]
    return text, offsets[::-1]


def encoded_offsets(tokenizer: Any, text: str) -> Offsets:
    """Where the tokens of a text stand that the policy did not write: it is cut here, without special tokens.

    Where the tokens do not decode to the text again (lower-casing, unknown words), the tokenizer's own offsets count.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None and hasattr(tokenizer, "encode_batch"):
        backend = tokenizer
    if backend is None:
        ids = tokenizer.encode(text, add_special_tokens=False)
        found, spans = _decoded(tokenizer, ids)
        if found != text:
            raise Unaligned("the text is not what its own tokens decode to: send it alone, without offsets")
        return spans
    encoding = backend.encode(text, add_special_tokens=False)
    try:
        found, spans = _decoded(backend, encoding.ids)
    except Unaligned:
        found, spans = "", []
    if found == text:
        return spans
    if found == f" {text}":  # the space that some tokenizers put before the first word
        return [(max(start - 1, 0), max(end - 1, 0)) for start, end in spans]
    return _placed(encoding.offsets, len(text))


def _placed(offsets: Sequence[tuple[int, int]], place: int) -> Offsets:
    """The same, each token without characters standing where the next one begins."""
    placed: Offsets = []
    for start, end in reversed(offsets):
        place = start if start < end else place
        placed.append((place, end if start < end else place))
    return placed[::-1]


def _special_ids(tokenizer: Any, backend: Any) -> frozenset[int]:
    named = getattr(tokenizer, "all_special_ids", ())
    added: dict[int, Any] = getattr(backend, "get_added_tokens_decoder", dict)()
    return frozenset(named) | {one for one, token in added.items() if token.special}


def _decoded(backend: Any, ids: Sequence[int]) -> tuple[str, Offsets]:
    """Text and ranges of ids none of which is to be skipped."""
    if not ids:
        return "", []

    def decode(start: int, end: int) -> str:
        text: str = backend.decode(list(ids[start:end]), skip_special_tokens=False)
        return text

    text = decode(0, len(ids))
    spell: Callable[[int], str | None] | None = getattr(backend, "id_to_token", None)
    if spell is not None:
        spellings = [spell(one) for one in ids]
        if None in spellings:
            at = spellings.index(None)
            raise Unaligned(f"token {at} has the id {ids[at]}, which the tokenizer does not know")
        chunks = token_bytes(decoder_steps(backend), [one or "" for one in spellings])
        if chunks is not None and b"".join(chunks).decode("utf-8", "replace") == text:
            return text, _spans(chunks)
    return text, _watched(decode, len(ids), text)


def _spans(chunks: Sequence[bytes]) -> Offsets:
    """The characters that hold a byte of each chunk, when all chunks are decoded together."""
    owner = _owners(b"".join(chunks))
    characters = owner[-1] + 1 if owner else 0
    spans: Offsets = []
    at = 0
    for chunk in chunks:
        start = owner[at] if at < len(owner) else characters
        at += len(chunk)
        spans.append((start, owner[at - 1] + 1 if chunk else start))
    return spans


def _owners(whole: bytes) -> list[int]:
    """For each byte the character that it is part of, counting as ``decode("utf-8", "replace")`` does."""
    owner: list[int] = []
    at = characters = 0
    while at < len(whole):
        length = _length_at(whole, at)
        owner += [characters] * length
        characters += 1
        at += length
    return owner


def _length_at(whole: bytes, at: int) -> int:
    """How many bytes the character that begins here has; of a broken one, how many read as one U+FFFD."""
    if whole[at] < 0x80:
        return 1
    window = whole[at : at + _LONGEST_CHARACTER]
    try:
        return len(window.decode()[0].encode())
    except UnicodeDecodeError as error:
        if error.start:  # what follows the first character is broken or cut off, not that one
            return len(window[: error.start].decode()[0].encode())
        return error.end


def _watched(decode: Callable[[int, int], str], tokens: int, text: str) -> Offsets:
    """What each further token adds to the text, for decoders that are not known here.

    A window slides along, because decoding all that came before each time would be quadratic.
    """
    spans: Offsets = []
    window = read = 0  # the window's first token, and the one up to which its text is settled
    settled_text = ""
    base = settled = 0  # characters of the text up to `read`, and up to the token before
    for end in range(1, tokens + 1):
        seen = decode(window, end)
        news = seen[len(settled_text) :] if seen.startswith(settled_text) else ""
        agreed = _shared(news.rstrip(_BROKEN), text, base)
        # If not: a character that is not all there yet, or a space that the next token takes away.
        whole = seen.startswith(settled_text) and agreed == len(news)
        start, settled = settled, max(settled, base + agreed)
        spans.append((start, settled if whole else min(settled + 1, len(text))))
        if whole and end - read >= _CONTEXT:
            window, read, base = read, end, settled
            settled_text = decode(window, read)
        if end - read > _FURTHEST:
            break
    # A broken character at the very end is never whole: it belongs to the tokens that began it.
    if len(spans) < tokens or settled < len(text.rstrip(_BROKEN)):
        raise Unaligned("the tokenizer's decoder does not tell tokens apart: send text alone, or token ids")
    return spans


def _shared(news: str, text: str, base: int) -> int:
    """How many characters of ``news`` stand in ``text`` from ``base`` on."""
    if text.startswith(news, base):
        return len(news)
    return next(at for at, one in enumerate(news) if text[base + at : base + at + 1] != one)

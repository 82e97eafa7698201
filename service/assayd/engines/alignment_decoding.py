"""Which characters of the decoded text each token stands for.

``replay`` runs a tokenizer's own decoder over the *bytes* of its tokens, decodes them once, and maps bytes
back to characters: exact, and linear in the length. ``probe`` watches any other decoder from outside, through
a window.
"""

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

Step = Mapping[str, Any]
"""One decoder of a ``tokenizer.json``."""

JOINED: Final[Step] = {"type": "Joined"}
"""What a tokenizer without a decoder does: a space between tokens."""

BYTE_TOKEN: Final = re.compile("<0x([0-9A-Fa-f]{2})>")
PROBE_CONTEXT: Final = 16
PROBE_WINDOW: Final = 512


class Decoded(NamedTuple):
    """A text, and for each token the characters ``[start, end)`` that hold at least one of its bytes."""

    text: str
    spans: list[tuple[int, int]]


def replay(steps: Sequence[Step], tokens: Sequence[str], *, keep_first_space: bool = False) -> Decoded | None:
    """Decode ``tokens`` as ``steps`` do; None when there is a step that is not known here.

    With ``keep_first_space`` the space before the first word stays, which SentencePiece decoders drop: so the
    text reads when it is cut out of a longer one.
    """
    pieces = list(tokens)
    chunks: list[bytes] | None = None  # once bytes, always bytes
    fused = joints = False
    cuts: list[tuple[int, int]] = []
    for step in steps:
        match step:
            case {"type": "Replace", "pattern": {"String": old}, "content": new} if chunks is None:
                pieces = [piece.replace(old, new) for piece in pieces]
            case {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme} if chunks is None:
                first = " " if keep_first_space or scheme == "never" else ""
                pieces = [piece.replace(mark, " " if i else first) for i, piece in enumerate(pieces)]
            case {"type": "WordPiece", "prefix": prefix, "cleanup": cleanup} if chunks is None:
                pieces = [_word_piece(piece, i, prefix, cleanup) for i, piece in enumerate(pieces)]
                joints = True
            case {"type": "BPEDecoder", "suffix": suffix} if chunks is None:
                last = len(pieces) - 1
                pieces = [piece.replace(suffix, "" if i == last else " ") for i, piece in enumerate(pieces)]
                joints = True
            case {"type": "Joined"} if chunks is None:
                pieces = [f" {piece}" if i else piece for i, piece in enumerate(pieces)]
                joints = True
            case {"type": "ByteLevel"} if chunks is None:
                chunks, fused = [_byte_level(piece) for piece in pieces], True
            case {"type": "ByteFallback"} if chunks is None:
                chunks = _byte_fallback(pieces)
            case {"type": "Fuse"}:
                chunks, fused = _encoded(pieces) if chunks is None else chunks, True
            case {"type": "Strip", "content": " ", "start": start, "stop": stop} if fused:
                cuts.append((0 if keep_first_space else start, stop))
            case _:
                return None
    decoded = _flatten(_encoded(pieces) if chunks is None else chunks)
    for start, stop in cuts:
        decoded = _strip(decoded, start, stop)
    return _disown_joints(decoded, tokens) if joints else decoded


def probe(decode: Callable[[int, int], str], tokens: int, text: str) -> Decoded | None:
    """Learn from ``decode(start, end)``, which decodes a range of tokens, what each token adds to ``text``.

    None when longer and longer ranges do not grow into ``text``.
    """
    spans: list[tuple[int, int]] = []
    window = read = 0  # the window begins at token `window`; its text is understood up to token `read`
    understood = ""
    base = settled = 0  # characters of `text` up to token `read`, and up to the token before `end`
    for end in range(1, tokens + 1):
        if end - read > PROBE_WINDOW:
            return None
        seen = decode(window, end)
        grown = seen.startswith(understood)
        news = seen[len(understood) :] if grown else ""
        agreed = common_prefix(news, text[base : base + len(news)])
        # If not: part of a character, or a space that the next token will remove.
        whole = grown and agreed == len(news)
        start, settled = settled, max(settled, base + agreed)
        spans.append((start, settled if whole else min(settled + 1, len(text))))
        if whole and end - read >= PROBE_CONTEXT:
            # A window begins where another ended: never within a character.
            window, read, base = read, end, settled
            understood = decode(window, read)
    return Decoded(text, spans) if settled == len(text) else None


def squeeze(decoded: Decoded, text: str) -> Decoded:
    """The same tokens over ``text``, which must be the decoded text with some spaces taken out."""
    place: list[int] = []
    kept = 0
    for character in decoded.text:
        place.append(kept)
        kept += kept < len(text) and character == text[kept]
    place.append(kept)
    return Decoded(text, [(place[start], place[end]) for start, end in decoded.spans])


def clean_up(text: str) -> str:
    """Take out spaces as ``clean_up_tokenization_spaces`` of Hugging Face does."""
    for mark in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(mark, mark.strip())
    return text


def common_prefix(left: str, right: str) -> int:
    """How many characters two texts share at the start."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (one, other) in pairs if one != other), min(len(left), len(right)))


def _word_piece(piece: str, index: int, prefix: str, cleanup: bool) -> str:
    if index:
        piece = piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}"
    # The library also contracts " do not" here, in the middle of the other marks: no single token holds that.
    return clean_up(piece) if cleanup else piece


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's characters that stand for bytes: printable bytes for themselves, the others from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


BYTE_ALPHABET: Final = _byte_alphabet()


def _byte_level(piece: str) -> bytes:
    try:
        return bytes([BYTE_ALPHABET[character] for character in piece])
    except KeyError:  # an added token is written as it reads, not in the byte alphabet
        return piece.encode()


def _byte_fallback(pieces: Sequence[str]) -> list[bytes]:
    """``<0xE2>`` is a byte; a run of bytes that is not whole UTF-8 becomes one U+FFFD for each byte."""
    chunks = _encoded(pieces)
    run: list[int] = []
    for index, piece in enumerate(chain(pieces, [""])):
        match = BYTE_TOKEN.fullmatch(piece)
        if match:
            chunks[index] = bytes.fromhex(match[1])
            run.append(index)
        elif run:
            try:
                b"".join(chunks[at] for at in run).decode()
            except UnicodeDecodeError:
                for at in run:
                    chunks[at] = "\N{REPLACEMENT CHARACTER}".encode()
            run.clear()
    return chunks


def _encoded(pieces: Sequence[str]) -> list[bytes]:
    return [piece.encode() for piece in pieces]


def _mark_broken(error: UnicodeError) -> tuple[str, int]:
    """Put a surrogate where decoding with "replace" puts U+FFFD; it tells how many bytes broke (1 to 3)."""
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101 - used for decoding only
    return chr(0xDC00 + error.end - error.start), error.end


codecs.register_error("assayd.mark_broken", _mark_broken)


def _flatten(chunks: Sequence[bytes]) -> Decoded:
    """Decode the joined chunks once; each chunk owns the characters that hold its bytes."""
    whole = b"".join(chunks)
    text = whole.decode("utf-8", "replace")
    # owner[b] is the character that holds byte b
    owner: Sequence[int] = range(len(whole))
    if len(text) < len(whole):
        widths = map(_width, whole.decode("utf-8", "assayd.mark_broken"))
        owner = list(chain.from_iterable(map(repeat, range(len(text)), widths)))
    spans: list[tuple[int, int]] = []
    at = 0
    for chunk in chunks:
        start = owner[at] if at < len(whole) else len(text)
        at += len(chunk)
        spans.append((start, owner[at - 1] + 1 if chunk else start))
    return Decoded(text, spans)


def _width(character: str) -> int:
    """How many bytes of UTF-8 stand behind a character, broken ones included."""
    code = ord(character)
    if 0xDC00 < code < 0xDC04:
        return code - 0xDC00
    return 1 + (code >= 0x80) + (code >= 0x800) + (code >= 0x10000)


def _strip(decoded: Decoded, start: int, stop: int) -> Decoded:
    """Take off at most ``start`` spaces in front and ``stop`` behind."""
    text, spans = decoded
    first = min(start, len(text) - len(text.lstrip(" ")))
    last = max(first, len(text) - min(stop, len(text) - len(text.rstrip(" "))))
    places = [min(max(place, first), last) - first for place in range(len(text) + 1)]
    cut = [(places[left], places[right]) for left, right in spans]
    return Decoded(text[first:last], cut)


def _disown_joints(decoded: Decoded, tokens: Sequence[str]) -> Decoded:
    """Leave the spaces that the decoder put between tokens to nobody."""
    text = decoded.text
    spans: list[tuple[int, int]] = []
    for (start, end), token in zip(decoded.spans, tokens, strict=True):
        start += start < end and text[start] == " " and not token.startswith(" ")
        end -= start < end and text[end - 1] == " " and not token.endswith(" ")
        spans.append((start, end))
    return Decoded(text, spans)

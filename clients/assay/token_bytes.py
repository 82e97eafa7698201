"""The bytes that each token of a completion stands for, read off a tokenizer without importing one.

Byte-level BPE (GPT-2, Llama 3, Qwen) and SentencePiece with or without byte fallback (Llama 2, Mistral, Gemma, T5)
write their bytes into the spelling of their tokens; how, is in the decoder part of ``tokenizer.json``.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Step = Mapping[str, Any]

_BYTE_TOKEN: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_UNKNOWN_BYTE: Final = "\N{REPLACEMENT CHARACTER}".encode()


def decoder_steps(backend: Any) -> list[Step]:
    """The decoders of a ``tokenizers.Tokenizer``, in order; empty where it has none or they cannot be read."""
    decoder = getattr(backend, "decoder", None)
    if decoder is None:
        return []
    try:
        state = json.loads(decoder.__getstate__())
    except (TypeError, ValueError, AttributeError):
        return []
    return list(state["decoders"]) if state.get("type") == "Sequence" else [state]


def token_bytes(steps: Sequence[Step], spellings: Sequence[str]) -> list[bytes] | None:
    """What each token adds to the text, in UTF-8; None where a decoder is not among those known here."""
    if not steps:
        return None
    pieces = list(spellings)
    chunks: list[bytes] | None = None
    for step in steps:
        match step:
            case {"type": "ByteLevel"} if chunks is None:
                chunks = [_byte_level(piece) for piece in pieces]
            case {"type": "Replace", "pattern": {"String": old}, "content": new} if chunks is None:
                pieces = [piece.replace(old, new) for piece in pieces]
            case {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme} if chunks is None:
                pieces = [piece.replace(mark, " ") for piece in pieces]
                if pieces and scheme != "never":
                    # The space of a word's beginning, unless it is the text's: then it was put there.
                    pieces[0] = spellings[0].replace(mark, "")
            case {"type": "ByteFallback"} if chunks is None:
                chunks = _byte_fallback(pieces)
            case {"type": "Fuse"}:
                chunks = chunks or [piece.encode() for piece in pieces]
            case {"type": "Strip", "content": " ", "start": start, "stop": 0} if chunks is not None:
                _strip(chunks, start)
            case _:
                return None
    return [piece.encode() for piece in pieces] if chunks is None else chunks


def _alphabet() -> dict[str, int]:
    """GPT-2's spelling of bytes: those that print as themselves, the others from U+0100 on, in order."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(rest)}


_BYTE_OF: Final = _alphabet()


def _byte_level(piece: str) -> bytes:
    if all(character in _BYTE_OF for character in piece):
        return bytes(_BYTE_OF[character] for character in piece)
    return piece.encode()  # an added token is spelled as it reads


def _byte_fallback(pieces: Sequence[str]) -> list[bytes]:
    """``<0xE2>`` is one byte; a run of bytes that is no UTF-8 reads as one U+FFFD per byte."""
    chunks: list[bytes] = []
    run = 0
    for piece in (*pieces, ""):
        byte = _BYTE_TOKEN.fullmatch(piece)
        if byte is None and run:
            try:
                b"".join(chunks[-run:]).decode()
            except UnicodeDecodeError:
                chunks[-run:] = [_UNKNOWN_BYTE] * run
            run = 0
        chunks.append(piece.encode() if byte is None else bytes.fromhex(byte[1]))
        run += byte is not None
    return chunks[:-1]


def _strip(chunks: list[bytes], most: int) -> None:
    """Take at most so many spaces off the front of the text."""
    for at, chunk in enumerate(chunks):
        while most and chunk.startswith(b" "):
            chunk, most = chunk[1:], most - 1
        chunks[at] = chunk
        if chunk:
            return

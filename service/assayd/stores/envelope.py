"""How a value lies where others can write too: compressed, bound to its name, and checked on the way out.

A sealed value is 16 bytes of BLAKE2b over its name and all that follows, one byte that says how the body is packed,
and the body. msgpack alone is no check: of annotations with a byte or two changed, three in ten still decode.
"""

import hashlib
from typing import Final

import zstandard

FORMAT: Final = 1
"""Part of every name, so that a service never opens what was sealed otherwise: count up when this module changes."""

_DIGEST_BYTES: Final = 16
_PLAIN: Final = b"p"
_ZSTD: Final = b"z"
_COMPRESS_FROM_BYTES: Final = 256
_LEVEL: Final = 1


class Rubbish(ValueError):
    """Not what was sealed under this name."""


class Envelope:
    """Seals and opens values of at most ``max_bytes``. Not for more than one thread: it keeps zstd's contexts."""

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def seal(self, name: str, value: bytes) -> bytes:
        """``value`` as it is to be stored under ``name``."""
        packed = _PLAIN + value
        if len(value) >= _COMPRESS_FROM_BYTES:
            packed = min(packed, _ZSTD + self._compressor.compress(value), key=len)
        return _digest(name, packed) + packed

    def open(self, name: str, sealed: bytes) -> bytes:
        """What was sealed under ``name``; raises ``Rubbish`` for anything else, without unpacking it."""
        digest, packed = sealed[:_DIGEST_BYTES], sealed[_DIGEST_BYTES:]
        if digest != _digest(name, packed):
            raise Rubbish("the checksum does not match")
        value = self._unpacked(packed[:1], packed[1:])
        if len(value) > self.max_bytes:
            raise Rubbish("larger than a value may be")
        return value

    def _unpacked(self, how: bytes, body: bytes) -> bytes:
        if how == _PLAIN:
            return body
        try:
            # zstd's own bound does not hold for a frame that names its size, so the name is asked first.
            if how != _ZSTD or not 0 <= zstandard.frame_content_size(body) <= self.max_bytes:
                raise Rubbish("packed in no known way, or larger than a value may be")
            return self._decompressor.decompress(body)
        except zstandard.ZstdError as error:
            raise Rubbish("it does not decompress") from error


def _digest(name: str, packed: bytes) -> bytes:
    digest = hashlib.blake2b(name.encode(), digest_size=_DIGEST_BYTES)
    digest.update(b"\0")
    digest.update(packed)
    return digest.digest()

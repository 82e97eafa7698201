"""Keys: random, recognisable, shown once, and kept only as a digest."""

import hashlib
import hmac
import secrets
from typing import Final

PREFIX: Final = "assay_"
"""Tells people and secret scanners what it is."""
_BYTES: Final = 32


def new_key() -> str:
    """A key that nobody can guess: 256 random bits behind ``PREFIX``."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def digest_of(key: str) -> str:
    """What is stored of a key: its SHA-256, in hex.

    A slow hash protects what people choose, because that can be guessed. Of 256 random bits there is nothing to guess:
    a fast one gives no less away, and every call pays for it.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def same(digest: str, other: str) -> bool:
    """Whether two digests are one, in a time that does not tell where they part."""
    return hmac.compare_digest(digest, other)

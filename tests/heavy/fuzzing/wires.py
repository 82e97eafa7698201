"""Connections that break off, lie about their length, or never say what they want."""

import random
import socket
from typing import Final

from ...processes import Process
from .bodies import SEEDS, spoilt_bytes

_HEAD: Final = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{}\r\n\r\n"
_ANSWERED: Final = (b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 503", b"HTTP/1.1 504")


def broken_off(service: Process, chance: random.Random, patience_s: float = 0.2) -> str | None:
    """One connection that does not keep its word; gives what was wrong with the answer, if there was one."""
    path = chance.choice(list(SEEDS))
    body, _ = spoilt_bytes(chance, {**SEEDS[path][0]})
    length = len(body)
    how, sent = chance.choice(
        (
            ("a chunk that breaks off", _chunked(path, b"%x\r\n" % (length + 10) + body)),
            ("a chunk of no length", _chunked(path, b"zz\r\n" + body)),
            ("chunks without an end", _chunked(path, b"%x\r\n%s\r\n" % (length, body))),
            ("less than was said", _plain(path, length + 100, body)),
            ("more than was said", _plain(path, max(length - 10, 0), body)),
            ("a length below nothing", _plain(path, -1, body)),
            ("two lengths", _HEAD.format(path, "Content-Length: 2\r\nContent-Length: 9").encode() + body),
            ("a head without an end", f"POST {path} HTTP/1.1\r\nHost: x\r\nX: ".encode() + b"a" * 70_000),
            ("no HTTP", bytes(chance.randrange(256) for _ in range(200))),
        )
    )
    with socket.create_connection(("127.0.0.1", service.port), 10) as wire:
        wire.settimeout(patience_s)
        try:
            wire.sendall(sent)
            answer = wire.recv(4096)
        except (TimeoutError, ConnectionError):
            return None
    if answer and not answer.startswith(_ANSWERED):
        return f"{how} on {path}: {answer[:80]!r}"
    return None


def _chunked(path: str, body: bytes) -> bytes:
    return _HEAD.format(path, "Transfer-Encoding: chunked").encode() + body


def _plain(path: str, length: int, body: bytes) -> bytes:
    return _HEAD.format(path, f"Content-Length: {length}").encode() + body

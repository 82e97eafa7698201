"""An append-only file of framed records: what ``append`` returned from is there, whatever ends the process.

A frame is the length of its payload and the payload's CRC-32 (little-endian, 32 bits each), then the payload: a run of
rows as JSON, compressed. Frames stand in the order of the rows, so the file is always a prefix of the whole.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from .stopping import Stopped

_HEADER: Final = struct.Struct("<II")
_FASTEST: Final = 1


class Entry(msgspec.Struct, frozen=True):
    """What became of one row: the digest of the row itself, and one result per annotation, as on the wire."""

    digest: str
    results: dict[str, dict[str, Any]]


class Frame(msgspec.Struct, frozen=True):
    """Rows ``[first, first + len(entries))``."""

    first: int
    entries: list[Entry]


class JournalDamagedError(Stopped):
    """A frame that was written whole does not read back: the disk has changed it."""


@dataclass(frozen=True, slots=True)
class _Walked:
    """A frame, or None where the file ends in half of one; ``end`` is the place behind it."""

    frame: Frame | None
    end: int


class Journal:
    """One journal, open for appending. Opening cuts off the half-written frame that a killed process left."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        end = 0
        for walked in _walk(path):
            if walked.frame is not None:
                self.rows += len(walked.frame.entries)
                end = walked.end
        self._file = path.open("ab", buffering=0)
        if self._file.tell() > end:
            self._file.truncate(end)
        os.fsync(self._file.fileno())
        sync_folder(path.parent)

    def append(self, entries: list[Entry]) -> None:
        """Write the next rows; they are on the disk when this returns."""
        payload = zlib.compress(msgspec.json.encode(Frame(self.rows, entries)), _FASTEST)
        frame = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        written = self._file.write(frame)
        if written != len(frame):
            raise Stopped(f"only {written} of {len(frame)} bytes could be journalled: is the disk full?")
        os.fsync(self._file.fileno())
        self.rows += len(entries)

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


def read_entries(path: Path) -> Iterator[Entry]:
    """Every row of the journal at ``path``, in order; none where there is no such file."""
    for walked in _walk(path):
        if walked.frame is not None:
            yield from walked.frame.entries


def write_whole(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path``: all of it or, when the process dies, what was there before."""
    with replacing(path) as file:
        file.write(content)


class replacing:  # noqa: N801 - read as a verb: with replacing(path) as file
    """A binary file that takes the place of ``path`` when the block ends well, and is gone when it does not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.partial")
        self._file: BinaryIO | None = None

    def __enter__(self) -> BinaryIO:
        self._file = self._partial.open("wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._file is not None  # noqa: S101 - entered
        if kind is not None:
            self._file.close()
            with suppress(FileNotFoundError):
                self._partial.unlink()
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self._path)
        sync_folder(self._path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were given or taken in ``folder`` last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(path: Path) -> Iterator[_Walked]:
    """The frames of a journal; a torn tail is None, and nothing follows it. Raises ``JournalDamagedError``."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        size, rows, end = os.fstat(file.fileno()).st_size, 0, 0
        while end < size:
            payload = _payload(file, size - end)
            if payload is None:
                if _anything_behind(file, end):
                    raise JournalDamagedError(
                        f"{path} is damaged at byte {end}: restore it, or begin anew with --fresh"
                    )
                yield _Walked(None, end)
                return
            frame = msgspec.json.decode(zlib.decompress(payload), type=Frame)
            if frame.first != rows:
                raise JournalDamagedError(
                    f"{path} goes from row {rows} to row {frame.first}: begin anew with --fresh"
                )
            rows += len(frame.entries)
            end += _HEADER.size + len(payload)
            yield _Walked(frame, end)


def _payload(file: BinaryIO, left: int) -> bytes | None:
    """The next frame's payload, None where it is not whole."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    if length == 0 or length > left - _HEADER.size:
        return None
    payload = file.read(length)
    return payload if zlib.crc32(payload) == checksum else None


def _anything_behind(file: BinaryIO, end: int) -> bool:
    """Whether a frame that is no tail stands at ``end``.

    A process that dies leaves less than its last frame; a machine that loses power may leave zeros as well, or a last
    frame with holes. A frame that fails its check and has another one behind it was written whole once.
    """
    file.seek(end)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return False
    length: int = _HEADER.unpack(header)[0]
    file.seek(end + _HEADER.size + length)
    following = file.read(_HEADER.size)
    if len(following) < _HEADER.size or length == 0:
        return False
    next_length, checksum = (int(number) for number in _HEADER.unpack(following))
    behind = file.read(next_length)
    return len(behind) == next_length > 0 and zlib.crc32(behind) == checksum

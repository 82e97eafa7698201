"""Files of rows, one JSON value a line: how they are read, and the digest that pins what was read."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Where each line that is not blank stands, file and line from 1, and the line itself.

    Raises ``ValueError`` for a file that is not UTF-8, ``OSError`` where there is none.
    """
    try:
        with path.open(encoding="utf-8") as file:
            yield from (
                (f"{path}, line {number}", line) for number, line in enumerate(file, 1) if line.strip()
            )
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error


def digest_of_rows(rows: Iterable[object]) -> str:
    """``sha256:`` and the hex digest of JSON values in their order, whatever file format they came in."""
    total = hashlib.sha256()
    for row in rows:
        total.update(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    return f"sha256:{total.hexdigest()}"

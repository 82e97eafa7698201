"""Edits the tenants file: comments and order stay, and a service that reads it sees all of an edit or nothing."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Array, Table

from ..alone import alone_with
from .keys import digest_of, new_key
from .tenants import NAME, read_tenants

_MODE = 0o600


def add_tenant(path: Path, name: str, terms: Mapping[str, Any]) -> str:
    """A new tenant on these terms; gives its key. Raises ``ValueError`` for a name that is taken or no name."""
    if not re.match(NAME, name):
        raise ValueError(
            f"{name!r} cannot be a tenant's name: up to 64 letters, digits, dots, dashes and underscores, "
            "a letter or digit first"
        )
    with _edited(path) as document:
        if name in document:
            raise ValueError(f"there is a tenant {name} already: `rotate` gives it another key")
        table = tomlkit.table()
        for field, value in terms.items():
            table.add(field, _inline_tables(value) if field == "quotas" else value)
        document[name] = table
        return _with_key(table)


def add_key(path: Path, name: str) -> str:
    """Another key of a tenant; the others hold until they are revoked. Raises ``ValueError`` for an unknown name."""
    with _edited(path) as document:
        return _with_key(_table(document, name))


def revoke(path: Path, name: str, digest: str | None) -> int:
    """End a tenant, or the one key of it whose digest begins like this; gives how many keys hold no longer.

    Raises ``ValueError`` where that names nobody, no key, or several.
    """
    with _edited(path) as document:
        keys = _table(document, name).get("keys", [])
        if digest is None:
            document.remove(name)
            return len(keys)
        meant = [at for at, key in enumerate(keys) if key["sha256"].startswith(digest)]
        if len(meant) != 1:
            raise ValueError(f"{len(meant)} keys of {name} begin with {digest!r}: `list` shows them")
        del keys[meant[0]]
        return 1


def _with_key(table: Table) -> str:
    key = new_key()
    if "keys" not in table:
        table.add("keys", _inline_tables([]).multiline(True))
    table["keys"].extend(_inline_tables([{"sha256": digest_of(key), "added": datetime.now(UTC).date()}]))
    return key


def _inline_tables(rows: Sequence[Mapping[str, Any]]) -> Array:
    array = tomlkit.array()
    for row in rows:
        table = tomlkit.inline_table()
        table.update(row)
        array.append(table)
    return array


def _table(document: tomlkit.TOMLDocument, name: str) -> Table:
    if name not in document:
        raise ValueError(f"there is no tenant {name}: `list` shows who there is")
    table: Table = document[name]
    return table


@contextmanager
def _edited(path: Path) -> Iterator[tomlkit.TOMLDocument]:
    """The file's contents, written back at the end of the block, unless it raises or they make no sense then.

    Who edits at the same time waits: a revoked key must not come back with somebody else's edit.
    """
    with alone_with(path):
        there = path.exists()
        if there:
            read_tenants(path)
        document = tomlkit.parse(path.read_text(encoding="utf-8")) if there else tomlkit.document()
        yield document
        _replace(path, tomlkit.dumps(document), path.stat() if there else None)


def _replace(path: Path, text: str, before: os.stat_result | None) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    written = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            if before is not None and os.geteuid() == 0:
                os.fchown(handle, before.st_uid, before.st_gid)  # the service still has to read it
            os.fchmod(handle, _MODE)
            file.flush()
            os.fsync(handle)
        read_tenants(written)
        written.replace(path)
    except BaseException:
        written.unlink()
        raise

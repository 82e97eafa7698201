"""Key to tenant, by a file that may change while the service runs."""

import os
from pathlib import Path

import structlog

from .keys import digest_of, same
from .tenants import Tenant, Terms, read_tenants

_Stamp = tuple[int, int, int]

log = structlog.get_logger()


class Roster:
    """The tenants in force. A file that cannot be read leaves those in force that were read last."""

    def __init__(self, path: Path) -> None:
        """Raises ``OSError`` and ``ValueError`` for a file that cannot be read or is no tenants file."""
        self._path = path
        self._stamp = self._stamp_now()
        self._holders = self._read()
        self._good = True

    @property
    def good(self) -> bool:
        """Whether the file as it stands is in force."""
        self._refresh()
        return self._good

    def holder(self, key: str) -> Tenant | None:
        """Who holds ``key``. All digests are compared, and each to its end: the time tells nothing of any."""
        self._refresh()
        shown = digest_of(key)
        holder = None
        for digest, tenant in self._holders:
            if same(digest, shown):
                holder = tenant
        return holder

    def _refresh(self) -> None:
        """Read the file again where it has changed; asking the file system at every call costs microseconds."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp  # taken before the file is read: a change meanwhile is seen next time
        try:
            self._holders = self._read()
        except (OSError, ValueError) as error:
            self._good = False
            log.warning("tenants_file_broken", error=str(error))
        else:
            self._good = True
            log.info("tenants_file_read", tenants=len({tenant.name for _, tenant in self._holders}))

    def _read(self) -> list[tuple[str, Tenant]]:
        holders = []
        for name, entry in read_tenants(self._path).items():
            terms = Terms(**{field: getattr(entry, field) for field in Terms.__struct_fields__})
            holders += [(key.sha256, Tenant(name, terms)) for key in entry.keys]
        return holders

    def _stamp_now(self) -> _Stamp | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - once a call: Path.stat is this and more
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

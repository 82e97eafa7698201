"""How many threads are at something at once."""

import threading
from types import TracebackType
from typing import Self


class Crowd:
    """Counts who is inside of ``with`` it: ``most`` at once, and ``came`` altogether."""

    def __init__(self) -> None:
        self.came = self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        with self._lock:
            self.came += 1
            self._now += 1
            self.most = max(self.most, self._now)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._now -= 1

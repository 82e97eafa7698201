"""How long to wait before an engine that died is started again."""

import random
import time
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 60.0
STEADY_S: Final = 300.0
"""An engine that ran so long had no trouble in starting."""


class Backoff:
    """Nothing before the first start; then doubling, with jitter, until an engine has run steadily."""

    def __init__(self) -> None:
        self._failures = 0
        self._started_at_s: float | None = None

    def started(self) -> None:
        """Take note that the engine runs."""
        self._started_at_s = time.monotonic()

    def next_s(self) -> float:
        """Seconds until the next start."""
        began, self._started_at_s = self._started_at_s, None
        if began is not None and time.monotonic() - began > STEADY_S:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        longest_s: float = min(LONGEST_S, FIRST_S * 2 ** (self._failures - 1))
        # Half of it by chance: engines that died together do not start together.
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - spread, not secrecy

"""How fast an engine has been of late, while it had more to do than it could take in."""

from typing import Final

HALF_LIFE_S: Final = 5.0
"""Work so long ago counts half."""
LEARNED_AFTER_S: Final = 0.5
"""Less than this says more about the first pass of a model than about its speed."""


class Pace:
    """Tokens a second. An engine that lacks work shows not what it can, so only pressed time is to be told of."""

    def __init__(self) -> None:
        self._tokens = self._pressed_s = 0.0

    def learn(self, tokens: int, took_s: float) -> None:
        """Take note of what was served in a time during which others waited."""
        kept = 0.5 ** (took_s / HALF_LIFE_S)
        self._tokens = kept * self._tokens + tokens
        self._pressed_s = kept * self._pressed_s + took_s

    @property
    def tokens_per_s(self) -> float | None:
        """The rate; None while too little has been seen."""
        if self._pressed_s < LEARNED_AFTER_S or self._tokens == 0:
            return None
        return self._tokens / self._pressed_s

"""Puts the prefix that was kept and the reply of the rewriter together."""

import re
from typing import Final

from ..prompting import defang

_SPACED: Final = re.compile(r"[<\[] [^\n<\[]{1,40}")


def joined(prefix: str, reply: str, prediction: str) -> str:
    """The rewrite: ``prefix``, byte for byte, and what ``reply`` adds to it.

    A model that starts anew repeats the prefix: it is taken off the reply, once. A chat template that trims what a
    model is to go on from swallows the prefix's last line break: the one that the reply then opens with is taken
    off too. White space at both ends is no correction: that of the prediction stands there.
    """
    added = _added(prefix, refang(reply))
    if not added.strip():
        return prefix
    if not prefix:
        added = _leading(prediction) + added.lstrip()
    return prefix + added.rstrip() + _trailing(prediction)


def refang(text: str) -> str:
    """The inverse of ``defang``, for a model that copies ``< |im_end|>`` as it was shown."""
    return _SPACED.sub(_closed, text)


def _closed(match: re.Match[str]) -> str:
    spaced = match[0]
    return spaced[0] + spaced[2:] if _spaces(defang(spaced)) > _spaces(spaced) else spaced


def _spaces(text: str) -> int:
    """How many there are behind the first character."""
    return len(text[1:]) - len(text[1:].lstrip(" "))


def _added(prefix: str, reply: str) -> str:
    if not prefix.strip():
        return reply
    fresh = reply.lstrip()
    if fresh.startswith(prefix.lstrip()):
        return fresh[len(prefix.lstrip()) :]
    broken = prefix.endswith("\n") and reply.startswith(("\n", "\r\n"))
    return reply.removeprefix("\r").removeprefix("\n") if broken else reply


def _leading(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def _trailing(text: str) -> str:
    return text[len(text.rstrip()) :]

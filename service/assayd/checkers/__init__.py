"""Says whether a solution reaches a known answer: checkers behind one protocol, each loaded only when chosen."""

import importlib
from typing import Final

from ..domain.rewriting import Checks

CHECKERS: Final[dict[str, str]] = {
    "math": "assayd.checkers.mathematics:MathChecker",
    "qa": "assayd.checkers.words:QaChecker",
    "hook": "assayd.checkers.hook:HookChecker",
}


def open_checker(name: str, *, hook: str | None = None) -> Checks:
    """The checker of that name; ``hook`` is the ``module:function`` that the one called ``hook`` asks.

    Raises ``ValueError`` with what to do when it cannot be had.
    """
    if name not in CHECKERS:
        raise ValueError(f"no checker {name!r}: there are {', '.join(CHECKERS)}")
    if (name == "hook") != (hook is not None):
        raise ValueError("checker `hook` needs a `module:function`, and the others take none")
    module, _, kind = CHECKERS[name].partition(":")
    checker: Checks = getattr(importlib.import_module(module), kind)(*() if hook is None else (hook,))
    return checker

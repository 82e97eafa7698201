"""Asks a function of the one who runs the service whether a solution is right."""

import asyncio
import importlib
from collections.abc import Callable
from typing import Final

from ..daemons import Daemons
from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline
from ..domain.rewriting import Verdict
from ..telemetry import withheld

_threads: Final = Daemons(32, "hook")
"""Of their own: functions that hang keep nobody waiting but those who ask them."""
_VERDICTS = {True: Verdict.RIGHT, False: Verdict.WRONG, None: Verdict.UNREADABLE}


class HookChecker:
    """Calls ``function(text, gold)`` in a thread; it returns True, False, or None where it cannot tell.

    The code is trusted: a call that outlasts its deadline is left behind, and goes on in its thread. Raises
    ``ValueError`` with what to do when ``target``, a ``module:function``, cannot be had.
    """

    def __init__(self, target: str) -> None:
        self.name = f"hook {target}"
        self._target = target
        self._function = load_function(target)

    async def check(self, text: str, gold: str, *, tolerance: float, deadline: Deadline) -> Verdict:
        """``tolerance`` is the function's own business.

        Raises ``AnnotationFailed``: ``past_deadline``, and ``internal`` where the function raises or returns
        something else.
        """
        answer = await called(self._target, self._function, text, gold, deadline=deadline)
        if answer is not None and not isinstance(answer, bool):
            raise AnnotationFailed(
                FailureKind.INTERNAL, f"{self._target} must return True, False or None, not {answer!r}"
            )
        return _VERDICTS[answer]

    async def close(self) -> None:
        """Do nothing: there is nothing to let go of."""


def load_function(target: str) -> Callable[..., object]:
    """The function that ``module:function`` names; raises ``ValueError`` with what to do."""
    module, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"hook {target!r} cannot be loaded ({error}): write module:function") from error
    if not callable(function):
        raise ValueError(f"hook {target!r} is no function")
    checked: Callable[..., object] = function
    return checked


async def called(
    target: str, function: Callable[..., object], *texts: str | None, deadline: Deadline
) -> object:
    """What a hook says in a thread of its own.

    Raises ``AnnotationFailed``: ``past_deadline``, and ``internal`` where the function raises.
    """
    try:
        return await asyncio.wait_for(_threads.begin(function, *texts), max(0.0, deadline.remaining_s))
    except TimeoutError:
        raise AnnotationFailed(
            FailureKind.PAST_DEADLINE, f"{target} had no answer before the deadline"
        ) from None
    except Exception as error:
        said = withheld("hook_failed", error, hook=target)
        raise AnnotationFailed(FailureKind.INTERNAL, f"{target} raised {said}") from error

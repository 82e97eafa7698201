"""Asks a function of the one who runs the service what a completion is worth."""

import hashlib
import inspect
import math
from pathlib import Path

from ..domain.failure import AnnotationFailed, FailureKind
from ..domain.ports import Deadline
from ..domain.provenance import ModelRef
from .hook import called, load_function

UNPINNED = "unpinned"


class ScoringHook:
    """Calls ``function(prompt, completion, reference)``, texts or None, in a thread; it returns a number.

    The code is trusted: a call that outlasts its deadline is left behind, and goes on in its thread. The same texts are
    taken to be worth the same as long as the file that holds the function stays as it is. Raises ``ValueError`` with
    what to do when ``target``, a ``module:function``, cannot be had.
    """

    def __init__(self, target: str) -> None:
        self._function = load_function(target)
        self.source = ModelRef(target, _digest(self._function))

    async def score(
        self, prompt: str, completion: str, reference: str | None, *, deadline: Deadline
    ) -> float:
        """Ask; raises as ``ScoresByHook`` says."""
        name = self.source.name
        answer = await called(name, self._function, prompt, completion, reference, deadline=deadline)
        if isinstance(answer, bool) or not isinstance(answer, int | float) or not math.isfinite(answer):
            raise AnnotationFailed(
                FailureKind.INTERNAL, f"{name} must return a finite number, not {answer!r}"
            )
        return float(answer)


def _digest(function: object) -> str:
    """The digest of the file in which the function stands."""
    try:
        file = inspect.getsourcefile(function)  # type: ignore[arg-type]  # whatever is callable
    except TypeError:
        return UNPINNED
    if file is None or not Path(file).is_file():
        return UNPINNED
    return f"sha256:{hashlib.sha256(Path(file).read_bytes()).hexdigest()}"

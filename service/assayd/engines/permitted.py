"""Which policy tokenizers a call may name: to name one makes this service read a folder or download from the hub."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath

from ..domain.failure import FailureKind, Rejected


class Permitted:
    """``patterns`` are names of tokenizers, ``*`` in them any characters; None: callers may name any."""

    def __init__(self, patterns: Sequence[str] | None) -> None:
        self._patterns = patterns

    def check(self, name: str) -> None:
        """Raise ``Rejected`` with what to do for a tokenizer that callers may not name."""
        if self._patterns is None:
            return
        # A pattern would be a match for what only begins in its folder.
        climbs = ".." in PurePath(name).parts
        if climbs or not any(fnmatchcase(name, pattern) for pattern in self._patterns):
            raise Rejected(
                FailureKind.INVALID,
                f"{name!r} is not among the tokenizers that calls to this service may name. Who runs it can add it to "
                "server.tokenizers, as in ASSAY_SERVER__TOKENIZERS='[\"Qwen/*\"]'; or send text and offsets, which "
                "need no tokenizer here",
                pointer="/tokenizer/name",
            )

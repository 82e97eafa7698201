"""Loads policy tokenizers from the hub or a folder, pins them, and keeps the last few."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from cachetools import LRUCache
from tokenizers import AddedToken, Tokenizer

from ..daemons import Daemons
from ..domain.failure import FailureKind, Rejected
from ..domain.provenance import ModelRef
from ..telemetry import withheld
from .alignment import PolicyTokenizer

TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
)

LOADED_AT_ONCE: Final = 4


class _Unfit(Exception):
    """Why the files of a tokenizer are no good, in words for a caller."""


class Tokenizers:
    """The last ``capacity`` tokenizers that were asked for.

    One that is being loaded is waited for and not begun again; a failure is not remembered.
    """

    def __init__(self, capacity: int = 8) -> None:
        # Two entries each: as it was asked for, and by its pin.
        self._tasks: LRUCache[tuple[str, str | None], asyncio.Future[PolicyTokenizer]] = LRUCache(
            2 * capacity
        )
        # A hub or a folder that hangs keeps nobody waiting but those who want another one of these.
        self._loaders = Daemons(LOADED_AT_ONCE, "tokenizer")

    async def get(self, name: str, revision: str | None = None) -> PolicyTokenizer:
        """The tokenizer, loaded in a thread at first; raises ``Rejected`` when that fails."""
        key = (name, revision)
        task = self._tasks.get(key)
        if task is None:
            task = self._loaders.begin(load, name, revision)
            self._tasks[key] = task
            task.add_done_callback(partial(self._loaded, key))
        return await asyncio.shield(task)

    def _loaded(self, key: tuple[str, str | None], task: asyncio.Future[PolicyTokenizer]) -> None:
        if task.cancelled() or task.exception() is not None:
            if self._tasks.get(key) is task:
                del self._tasks[key]
        else:
            self._tasks[key[0], task.result().model.revision] = task


def load(name: str, revision: str | None = None) -> PolicyTokenizer:
    """Load a tokenizer by its hub name or local folder; code that comes with it is never run.

    The revision of a hub tokenizer is its commit, that of a folder the digest of its files. Raises
    ``Rejected`` with what to do about it.
    """
    try:
        folder = Path(name)
        pinned = _digest(folder) if folder.is_dir() else None
        if pinned is None:
            folder = _download(name, revision)
            pinned = folder.name
        elif revision not in (None, pinned):
            raise _Unfit(f"its files have the digest {pinned}, not the pinned revision {revision}")
        file = folder / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else _convert(folder)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        # It would add special tokens and trim the spaces off offsets: neither is wanted here.
        tokenizer.post_processor = None
        for token_id, token in _special_tokens(folder, tokenizer):
            _add_special(tokenizer, token_id, token)
    # The tokenizers library raises bare exceptions, and the hub client its own of several families.
    except Exception as error:
        if isinstance(error, _Unfit):
            reason = str(error)
        else:
            reason = withheld("tokenizer_not_loaded", error, name=name, said=str(error))
        raise Rejected(
            FailureKind.INVALID,
            f"the tokenizer {name!r} cannot be loaded: {reason}. Name a hub repository (and a commit of it) "
            "that this service can reach or has in its cache, or a folder on its host that holds "
            "tokenizer.json; or send text and offsets, which need no tokenizer here",
            pointer="/tokenizer",
        ) from error
    return PolicyTokenizer(ModelRef(name, pinned), tokenizer, end_id=_end_id(folder, tokenizer))


def _download(name: str, revision: str | None) -> Path:
    """The folder, named after its commit, that holds the tokenizer's files of a hub repository."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, revision=revision, allow_patterns=[*TOKENIZER_FILES, "config.json"]))


def _convert(folder: Path) -> Tokenizer:
    """The tokenizer of a folder that has only older files, which transformers can convert."""
    if not _files(folder):
        raise _Unfit("it holds no tokenizer")
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise _Unfit("it has no tokenizer.json, and transformers is not installed to convert it") from None
    loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    backend = getattr(loaded, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise _Unfit("it has no tokenizer.json, and transformers cannot make one of it")
    return backend


def _digest(folder: Path) -> str:
    """``sha256:`` and the hex digest over names and contents of the tokenizer's files."""
    total = hashlib.sha256()
    for path in _files(folder):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.name}\n{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _files(folder: Path) -> list[Path]:
    return sorted({path for pattern in TOKENIZER_FILES for path in folder.glob(pattern)})


def _special_tokens(folder: Path, tokenizer: Tokenizer) -> Iterator[tuple[int, str]]:
    """What Hugging Face treats as special besides the special tokens of ``tokenizer.json``, by id."""
    declared: dict[int, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        file = folder / name
        settings = json.loads(file.read_bytes()) if file.is_file() else {}
        for token in _named_tokens(settings):
            token_id = tokenizer.token_to_id(token)
            if token_id is not None:
                declared[token_id] = token
        for token_id, token in settings.get("added_tokens_decoder", {}).items():
            if token.get("special"):
                declared[int(token_id)] = token["content"]
    known = {token_id for token_id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    yield from sorted((token_id, token) for token_id, token in declared.items() if token_id not in known)


def _end_id(folder: Path, tokenizer: Tokenizer) -> int | None:
    """The id of what Hugging Face calls the ``eos_token``, None where nobody names one."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = folder / name
        settings = json.loads(file.read_bytes()) if file.is_file() else {}
        for token in _named_tokens({"eos_token": settings.get("eos_token")}):
            found: int | None = tokenizer.token_to_id(token)
            return found
    return None


def _named_tokens(settings: Mapping[str, Any]) -> Iterator[str]:
    """The values of ``eos_token`` and its like, each a string or ``{"content": ...}``, and of lists."""
    for key, value in settings.items():
        if key in ("additional_special_tokens", "extra_special_tokens"):
            values = value.values() if isinstance(value, Mapping) else value or ()
        else:
            values = (value,) if key.endswith("_token") else ()
        for token in values:
            content = token.get("content") if isinstance(token, Mapping) else token
            if isinstance(content, str):
                yield content


def _add_special(tokenizer: Tokenizer, token_id: int, token: str) -> None:
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
    if tokenizer.token_to_id(token) != token_id:
        raise _Unfit(
            f"tokenizer_config.json gives {token!r} the id {token_id}, "
            f"but after tokenizer.json it is {tokenizer.token_to_id(token)}"
        )

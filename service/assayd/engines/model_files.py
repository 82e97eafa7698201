"""The files of a model, in a folder or on the hub: which ones they are, and what they say of it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from transformers.utils.hub import cached_file

MODEL_FILES: Final = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".tiktoken"}
WEIGHTS_INDEX: Final = "model.safetensors.index.json"
CARD: Final = "assay.json"
"""What the trainings of this project leave beside the weights."""


def folder_digest(name: str, pinned: str | None) -> str | None:
    """The digest of the folder ``name``, None where it is no folder but the name of a hub model.

    Raises ``ValueError`` where it is not the ``pinned`` one.
    """
    if not Path(name).is_dir():
        return None
    own = digest(Path(name))
    if pinned not in (None, own):
        raise ValueError(f"{name} is not the pinned revision {pinned}: its files have the digest {own}")
    return own


def digest(folder: Path) -> str:
    """``sha256:`` and the hex digest over names and contents of the model's files."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in MODEL_FILES):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name}\n{content}\n".encode())
    return f"sha256:{total.hexdigest()}"


def read_card(name: str, revision: str | None) -> Mapping[str, Any] | None:
    """What ``assay.json`` beside the weights says of the model, None where there is none."""
    return model_json(name, revision, CARD)


def model_json(name: str, revision: str | None, file: str) -> Mapping[str, Any] | None:
    """One JSON file of a model, read; None as ``model_file`` has it."""
    path = model_file(name, revision, file)
    value: Mapping[str, Any] | None = None if path is None else json.loads(path.read_text(encoding="utf-8"))
    return value


def model_file(name: str, revision: str | None, file: str) -> Path | None:
    """One file of a model; None where the model has no such file, or it cannot be had."""
    found = cached_file(
        name,
        file,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)

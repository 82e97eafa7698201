"""The folder in which an unfinished training waits: its plan, TRL's checkpoints, and what else it would do twice."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

FOLDER: Final = "checkpoints"
PLAN: Final = "plan.json"


class Planned(Protocol):
    """All that is asked of a plan."""

    def as_json(self) -> dict[str, Any]:
        """Everything that decides which weights come out, as JSON values."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """``path`` lies beside the files that are served, and is not among them."""

    path: Path

    @classmethod
    def open(cls, out: Path, plan: Planned, *, resume: bool) -> "Checkpoints":
        """Begin anew, or go on with the training of the same plan; ``ValueError`` where another one waits."""
        path = out / FOLDER
        if not resume and path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True, exist_ok=True)
        note = path / PLAN
        if note.is_file():
            other = json.loads(note.read_text())
            differs = sorted(key for key, value in _plain(plan).items() if other.get(key) != value)
            if differs:
                raise ValueError(
                    f"{path} holds an unfinished training that differs in {', '.join(differs)}: "
                    "train with resume off to drop it, or into another folder"
                )
        else:
            _write_whole(note, json.dumps(_plain(plan), indent=2))
        return cls(path)

    def last(self) -> str | None:
        """The last checkpoint that was written to its end; unfinished ones are removed."""
        found = sorted(self.path.glob("checkpoint-*"), key=lambda folder: int(folder.name.split("-")[1]))
        while found and not _finished(found[-1]):
            shutil.rmtree(found.pop())
        return str(found[-1]) if found else None

    def remove(self) -> None:
        """Nothing is left of the training but what it made."""
        shutil.rmtree(self.path)


def _plain(plan: Planned) -> dict[str, object]:
    """The plan after a journey through JSON, in which tuples become lists."""
    plain: dict[str, object] = json.loads(json.dumps(plan.as_json()))
    return plain


def _finished(checkpoint: Path) -> bool:
    """Whether the state of the trainer is there, which it writes last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def _write_whole(path: Path, text: str) -> None:
    """All of it or nothing, also when the process is killed meanwhile."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text)
    unfinished.replace(path)

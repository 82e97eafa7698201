"""Finds the prompt files: inside the wheel, or at the root of a checkout."""

from pathlib import Path
from typing import Final

from .annotators.prompting import Prompt, parse_prompt

_PACKAGE: Final = Path(__file__).parent
_FOLDERS: Final = (_PACKAGE / "prompts", _PACKAGE.parents[1] / "prompts")


def load_prompts(room: str) -> dict[str, Prompt]:
    """Every prompt of a room (``critic``, ``pocket``, ...) by its name.

    Raises ``FileNotFoundError`` when the installation has lost its prompts.
    """
    for folder in _FOLDERS:
        files = sorted((folder / room).glob("*.md"))
        if files:
            return {file.stem: parse_prompt(f"{room}/{file.stem}", file.read_bytes()) for file in files}
    raise FileNotFoundError(f"no prompts for {room!r}: reinstall assay, its prompt files are missing")

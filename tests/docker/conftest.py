"""The deployment files, read without a container engine."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """docker-compose.yml, its anchors resolved."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def stages() -> dict[str, list[tuple[str, str]]]:
    """The Dockerfile: (instruction, arguments) of each stage by its name; "" is what stands before the first."""
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    without_comments = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    stages: dict[str, list[tuple[str, str]]] = defaultdict(list)
    stage = ""
    for line in without_comments.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        instruction, _, arguments = line.strip().partition(" ")
        if instruction == "FROM":
            stage = arguments.partition(" AS ")[2]
        stages[stage].append((instruction, " ".join(arguments.split())))
    return dict(stages)

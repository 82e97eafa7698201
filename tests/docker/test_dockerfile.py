"""The image: what can be known of it without building it."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..processes import free_port

ROOT = Path(__file__).parents[2]
TARGETS = ("cpu", "vllm")

Stages = dict[str, list[tuple[str, str]]]


def arguments(stages: Stages, stage: str, instruction: str) -> list[str]:
    """The arguments of each such instruction of a stage, in order."""
    return [arguments for name, arguments in stages[stage] if name == instruction]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_the_service_as_a_fixed_user(stages: Stages, target: str) -> None:
    """Numeric, so that a volume's owner is the same everywhere and Kubernetes can see that it is not root."""
    assert arguments(stages, target, "USER") == ["2000:0"]
    assert json.loads(arguments(stages, target, "ENTRYPOINT")[-1]) == ["assayd"]
    assert json.loads(arguments(stages, target, "CMD")[-1])[0] == "serve"
    assert arguments(stages, target, "STOPSIGNAL") == ["SIGTERM"]
    assert "HF_HOME=/models" in arguments(stages, target, "ENV")[-1]
    assert "/models" in arguments(stages, target, "VOLUME")[-1]


@pytest.mark.parametrize("target", TARGETS)
def test_no_final_stage_installs_anything(stages: Stages, target: str) -> None:
    """What is shipped is copied from a builder: no package manager and no compiler of ours runs in a final stage."""
    forbidden = re.compile(r"\b(apt|apt-get|apk|pip|uv|gcc|g\+\+|make|build-essential|curl|wget)\b")
    assert [line for line in arguments(stages, target, "RUN") if forbidden.search(line)] == []


def test_every_base_is_pinned(stages: Stages) -> None:
    """To a full version; the two that are arguments have such defaults."""
    images = [value for line in arguments(stages, "", "ARG") for value in [line.partition("=")[2]]]
    assert len(images) == 2
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*", image) for image in images), images
    names = set(stages)
    for stage in names - {""}:
        base = arguments(stages, stage, "FROM")[0].partition(" AS ")[0]
        assert base in {"${PYTHON_IMAGE}", "${VLLM_IMAGE}"} | names


def test_what_is_copied_exists_and_reaches_the_builder(stages: Stages) -> None:
    """Each source of a COPY is in the repository and let through by .dockerignore."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source
        for stage in stages
        for line in arguments(stages, stage, "COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }
    assert copied == allowed
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_one_torch_everywhere(stages: Stages) -> None:
    """The image, the Makefile and the package name the same build."""
    (pinned,) = {
        found
        for line in arguments(stages, "cpu-builder", "RUN")
        for found in re.findall(r"torch==[\d.]+", line)
    }
    assert f"TORCH := {pinned}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f'"{pinned}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_lock_holds_what_the_package_asks_for() -> None:
    """Every requirement of the extras in the image is pinned, to a version that satisfies it."""
    lines = (ROOT / "docker" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = [name for name in ("service", "transformers", "annotate", "redis") if name in extras]
    asked = [Requirement(line) for name in names for line in extras[name]] + [
        Requirement(line) for line in project["dependencies"]
    ]
    for requirement in asked:
        if requirement.name not in ("assay", "torch"):
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_only_what_the_base_image_lacks_is_installed(tmp_path: Path) -> None:
    """By name, however it is spelled and whatever its version: vLLM's own packages stay as they are."""
    present, wanted = tmp_path / "present", tmp_path / "wanted"
    present.write_text("PyYAML==6.0.1\nhuggingface-hub==1.31.0\ntorch==2.13.0+cu130\n")
    wanted.write_text("# a comment\nPyYAML==6.0.3\nhuggingface_hub==2.4.0\nstructlog==26.1.0\n")
    script = ROOT / "docker" / "missing.awk"
    missing = subprocess.run(
        ["awk", "-f", script, present, wanted], check=True, capture_output=True, text=True
    )
    assert missing.stdout == "structlog==26.1.0\n"


class _Answers(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def health_of(stages: Stages) -> Callable[[str, int], int]:
    """Runs the HEALTHCHECK of a target against a port; gives its exit status."""

    def run(target: str, port: int) -> int:
        (line,) = arguments(stages, target, "HEALTHCHECK")
        options, _, command = line.partition(" CMD ")
        assert "--start-period=" in options
        program, *rest = json.loads(command)
        assert program == "python"
        # A proxy of the container is not asked for the container's own port.
        environment = os.environ | {"ASSAY_SERVER__PORT": str(port), "HTTP_PROXY": "http://127.0.0.1:9"}
        return subprocess.run(
            [sys.executable, *rest], env=environment, capture_output=True, timeout=30
        ).returncode

    return run


@pytest.mark.parametrize("target", TARGETS)
def test_the_health_check_tells_alive_from_not(health_of: Callable[[str, int], int], target: str) -> None:
    """Status 0 where /healthz answers 200; else not 0: an answer of 503, and no answer."""
    assert health_of(target, free_port()) != 0
    for status in (200, 503):
        handler = type("_Answers", (_Answers,), {"status": status})
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            assert (health_of(target, server.server_port) == 0) == (status == 200)
            server.shutdown()

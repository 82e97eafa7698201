"""Every environment that we hand out, .env.example and the blocks of docs/sizing.md, is one the service accepts."""

import io
import re
from collections import defaultdict
from pathlib import Path

import pytest
from dotenv import dotenv_values

from assayd.settings import EngineName, Settings

ROOT = Path(__file__).parents[2]
PREFIX = "ASSAY_"


def environments() -> dict[str, str]:
    """Texts in the form of a .env, by where they stand; the page's stand in place of the example's models."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "sizing.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^### ([^\n]+)\n(?:(?!^#).)*?```dotenv\n(.*?)```", page, flags=re.MULTILINE | re.DOTALL
    )
    return {".env.example": example, **dict(blocks)}


ENVIRONMENTS = environments()


def test_the_page_has_blocks() -> None:
    """For one, two and eight GPUs."""
    titles = " ".join(ENVIRONMENTS)
    assert all(words in titles for words in ("One GPU", "Two GPUs", "Eight GPUs"))


def variables(text: str) -> dict[str, str]:
    """Names and values, references to others resolved, as Compose reads them."""
    values = dotenv_values(stream=io.StringIO(text), interpolate=True)
    return {name: value for name, value in values.items() if value is not None}


def settings_of(text: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings under this environment."""
    for name, value in variables(text).items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_the_service_accepts_each_variable(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that does not exist would be ignored in silence, a key that does not exist is refused."""
    settings = settings_of(ENVIRONMENTS[where], monkeypatch)
    given = [name for name in variables(ENVIRONMENTS[where]) if name.startswith(PREFIX)]
    sections = {name.removeprefix(PREFIX).lower().split("__")[0] for name in given}
    assert sections <= set(Settings.model_fields)
    assert settings.segment.normalizer == "phi3-instruct"
    assert {settings.critic.engine, settings.rewriter.engine, settings.segment.engine} == {EngineName.VLLM}


def test_the_lines_to_uncomment_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commented line of the example is one that works."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    every = re.sub(r"^#(ASSAY_\w+=)<?(.*?)>?$", r"\1\2", text, flags=re.MULTILINE)
    assert len(variables(every)) > len(variables(text))
    settings_of(every, monkeypatch)


@pytest.mark.parametrize("where", ENVIRONMENTS)
def test_the_shares_of_a_gpu_leave_room(where: str) -> None:
    """All vLLM models on a GPU take less than the whole of it; those with equal settings are one engine."""
    given = variables(ENVIRONMENTS[where])
    engines = set()
    for section in ("CRITIC", "REWRITER", "SEGMENT", "SEQUENCE"):
        start = f"{PREFIX}{section}__"
        own = {name.removeprefix(start): value for name, value in given.items() if name.startswith(start)}
        if own.get("ENGINE") == "vllm":
            common = ("MODEL", "REVISION", "MAX_MODEL_LEN")
            kept = {name for name in own if name in common or name.startswith("VLLM__")}
            engines.add(frozenset((name, own[name]) for name in kept))
    shares: dict[str, float] = defaultdict(float)
    for engine in engines:
        of = dict(engine)
        devices = of["VLLM__DEVICES"].split(",")
        assert len(devices) == int(of.get("VLLM__TENSOR_PARALLEL_SIZE", "1"))
        for device in devices:
            shares[device] += float(of["VLLM__GPU_MEMORY_UTILIZATION"])
    assert shares
    assert all(share <= 0.95 for share in shares.values()), dict(shares)


def test_one_line_changes_each_model() -> None:
    """The rewriter follows the critic; the segment model and what cuts for it have a line each."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    changed = variables(
        text.replace("ASSAY_CRITIC__MODEL=Qwen/Qwen3-4B-Instruct-2507", "ASSAY_CRITIC__MODEL=a/b")
    )
    assert changed["ASSAY_REWRITER__MODEL"] == "a/b"
    assert {"ASSAY_SEGMENT__MODEL", "ASSAY_SEGMENT__ENTROPY_MODEL", "ASSAY_SEGMENT__NORMALIZER"} <= set(
        changed
    )

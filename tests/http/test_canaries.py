"""A service knows the models that it hosts by what they answer, not by whether they live."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from assayd.__main__ import app as commands
from assayd.app import create_app
from assayd.domain.provenance import ModelRef
from assayd.health.canaries import Canaries
from assayd.settings import EngineName, Settings

FAKES = {name: {"engine": EngineName.FAKE} for name in ("critic", "segment", "rewriter", "sequence")}


@pytest.fixture
def ready(serve_app: Callable[[object], Any]) -> Callable[..., httpx.Response]:
    """What ``/readyz`` says of a service that is started with these settings and stopped again."""

    def ask(stored: Path | None, **sections: Any) -> httpx.Response:
        settings = Settings(**{**FAKES, **sections, "health": {"canaries": stored}})
        with serve_app(create_app(settings)) as url:
            while "not been answered yet" in (answer := httpx.get(f"{url}/readyz", timeout=60)).text:
                pass  # each waits for some seconds by itself
            return answer

    return ask


def hosted(model: Path) -> dict[str, Any]:
    """Settings of a model in a folder."""
    return {"engine": EngineName.TRANSFORMERS, "model": str(model), "dtype": "float32", "device": "cpu"}


def test_swapped_weights_turn_a_service_red_until_they_are_accepted(
    ready: Callable[..., httpx.Response], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start records, later ones compare; the answer names part, expected and seen numbers."""
    stored, folder = tmp_path / "canaries.json", tmp_path / "segment"
    tiny.reading_off(folder, {"4": 1.0})
    for _ in range(2):
        assert ready(stored, segment=hosted(folder)).json()["status"] == "ok"
    tiny.reading_off(folder, {"4": 2.5})
    answer = ready(stored, segment=hosted(folder))
    assert answer.status_code == 503
    assert [part for part, sound in answer.json()["parts"].items() if not sound] == ["segment"]
    assert "expected 1, seen 2.5 (weights, activation)" in answer.json()["complaints"]["segment"]

    config = tmp_path / "assay.toml"
    sections = {name: {"engine": "fake"} for name in FAKES} | {"segment": hosted(folder)}
    config.write_text("\n".join(f"[{name}]\n" + _toml(section) for name, section in sections.items()))
    monkeypatch.setenv("ASSAY_HEALTH__CANARIES", str(stored))
    told = CliRunner().invoke(commands, ["canary", "check", "--config", str(config)])
    assert told.exit_code == 1
    assert "expected 1, seen 2.5" in told.stderr
    assert "assayd canary record" in told.stderr
    for command in ("record", "check"):
        assert CliRunner().invoke(commands, ["canary", command, "--config", str(config)]).exit_code == 0
    assert ready(stored, segment=hosted(folder)).json()["complaints"] == {}


def _toml(section: dict[str, Any]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in section.items())


def test_another_chat_template_is_told_from_other_weights(
    ready: Callable[..., httpx.Response], tiny: Any, tmp_path: Path
) -> None:
    """The ids that a prompt is written in are part of what is compared."""
    stored, folder = tmp_path / "canaries.json", tmp_path / "segment"
    tiny.reading_off(folder, {"4": 1.0})
    ready(stored, segment=hosted(folder))
    tokenizer = tiny.letter_tokenizer()
    tokenizer.chat_template = "{% for turn in messages %}# {{ turn.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    answer = ready(stored, segment=hosted(folder))
    assert answer.status_code == 503
    assert "the prompt is written otherwise (template, tokenizer)" in answer.json()["complaints"]["segment"]


def test_a_model_that_writes_is_known_by_its_text(
    ready: Callable[..., httpx.Response], tiny: Any, tmp_path: Path
) -> None:
    """A critic whose weights were swapped says other words."""
    stored, folder = tmp_path / "canaries.json", tmp_path / "critic"
    everything = {letter: {"a": 0.0} for letter in "abcdefghijklmnopqrstuvwxyz?"}
    tiny.predicting(folder, everything)
    assert ready(stored, critic=hosted(folder)).status_code == 200
    tiny.predicting(folder, {letter: {"b": 0.0} for letter in everything})
    answer = ready(stored, critic=hosted(folder))
    assert answer.status_code == 503
    assert "expected the text 'aaaaaaaa', seen 'bbbbbbbb'" in answer.json()["complaints"]["critic"]


def test_the_embedded_models_are_those_that_were_shipped(embedded: httpx.Client) -> None:
    """Their answers travel in the package, so a weight file that was exchanged is found at the first start."""
    assert embedded.get("/readyz").json()["complaints"] == {}
    shipped = Canaries(None)
    for model in embedded.get("/info").json()["models"].values():
        assert shipped.known(ModelRef(model["name"], model["revision"], model["engine"])) is not None

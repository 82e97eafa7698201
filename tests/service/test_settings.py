"""Settings: environment over file over defaults, and nothing unknown."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from assayd.__main__ import app
from assayd.settings import EngineName, load_settings


def test_the_default_needs_nothing() -> None:
    """Every engine is the embedded one, on loopback, with the cache in memory."""
    settings = load_settings()
    assert (settings.critic.engine, settings.server.host, settings.cache.url) == (
        EngineName.POCKET,
        "127.0.0.1",
        "memory://",
    )


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both spell the same keys."""
    config = tmp_path / "assay.toml"
    config.write_text('[critic]\nengine = "openai"\nmodel = "in-file"\n[server]\nport = 9000\n')
    monkeypatch.setenv("ASSAY_CRITIC__MODEL", "in-environment")
    settings = load_settings(config)
    assert (settings.critic.engine, settings.critic.model, settings.server.port) == (
        EngineName.OPENAI,
        "in-environment",
        9000,
    )


def test_a_key_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """A misspelt key must not be ignored in silence."""
    config = tmp_path / "assay.toml"
    config.write_text('[critic]\nmodle = "x"\n')
    with pytest.raises(ValidationError, match="modle"):
        load_settings(config)


def test_a_section_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment too: a misspelt one would leave the embedded critic in place of a real one."""
    monkeypatch.setenv("ASSAY_CRITIK__MODEL", "x")
    with pytest.raises(ValueError, match="no section CRITIK, only SERVER, CRITIC"):
        load_settings()
    monkeypatch.delenv("ASSAY_CRITIK__MODEL")
    monkeypatch.setenv("ASSAY_URL", "http://127.0.0.1:8000")  # the client's
    load_settings()


def test_a_wrong_setting_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line each, with nothing of the library that found it."""
    monkeypatch.setenv("ASSAY_CRITIC__ENGIN", "openai")
    result = CliRunner().invoke(app, ["serve"])
    assert result.exit_code == 2
    assert "critic.engin: there is no such setting" in result.output
    assert "pydantic" not in result.output


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error says which file."""
    with pytest.raises(FileNotFoundError, match="absent"):
        load_settings(tmp_path / "absent.toml")


def test_an_api_key_is_not_printed() -> None:
    """Settings can be logged."""
    settings = load_settings().model_copy()
    assert "hunter2" not in repr(type(settings)(critic={"engine": "openai", "api_key": "hunter2"}))


def test_serve_does_not_open_the_door_by_accident() -> None:
    """Beyond loopback, with callers who need no key, only when it is said."""
    result = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])  # noqa: S104 - that is the point
    assert result.exit_code == 2
    assert "--allow-anonymous" in result.output

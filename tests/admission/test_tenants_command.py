"""``assayd tenants``: what it writes, what it keeps, what it refuses."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from assayd.__main__ import app
from assayd.admission.keys import PREFIX, digest_of
from assayd.admission.tenants import read_tenants


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Not there yet."""
    return tmp_path / "tenants.toml"


def run(file: Path, *words: str) -> Result:
    """One command."""
    return CliRunner().invoke(app, ["tenants", *words, "--file", str(file)])


def key_of(result: Result) -> str:
    """What stands alone on standard output."""
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_key_is_shown_once_and_its_digest_kept(file: Path) -> None:
    """The file can be read by its owner alone, and nobody can learn a key from it."""
    key = key_of(
        run(file, "add", "atlas", "--weight", "2", "--tokens-per-minute", "1000", "--priority", "evaluation")
    )
    assert key.startswith(PREFIX)
    assert len(key) > 43
    text = file.read_text(encoding="utf-8")
    assert key.removeprefix(PREFIX) not in text
    assert digest_of(key) in text
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    entry = read_tenants(file)["atlas"]
    assert (entry.weight, entry.priority, entry.quotas[0].tokens) == (2.0, "evaluation", 1000)
    shown = run(file, "list").stdout
    assert digest_of(key)[:8] in shown
    assert "atlas: weight 2, up to evaluation, 1000 tokens in 60 s" in shown


def test_comments_and_neighbours_stay(file: Path) -> None:
    """People write into this file too."""
    file.write_text("# Ask Ada before you touch this.\n[borea]\nweight = 0.5 # small\n", encoding="utf-8")
    old = key_of(run(file, "add", "atlas"))
    new = key_of(run(file, "rotate", "atlas"))
    assert {key.sha256 for key in read_tenants(file)["atlas"].keys} == {digest_of(old), digest_of(new)}
    assert run(file, "revoke", "atlas", digest_of(old)[:8]).exit_code == 0
    assert [key.sha256 for key in read_tenants(file)["atlas"].keys] == [digest_of(new)]
    assert run(file, "revoke", "atlas").exit_code == 0
    text = file.read_text(encoding="utf-8")
    assert "# Ask Ada before you touch this." in text
    assert "weight = 0.5 # small" in text
    assert list(read_tenants(file)) == ["borea"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["add", "atlas"], "already"),
        (["add", "two words"], "two words"),
        (["add", "borea", "--weight", "-1"], "weight"),
        (["rotate", "nobody"], "no tenant nobody"),
        (["revoke", "nobody"], "no tenant nobody"),
        (["revoke", "atlas", "zz"], "0 keys"),
        (["revoke", "atlas", ""], "2 keys"),
    ],
)
def test_what_makes_no_sense_changes_nothing(file: Path, words: list[str], why: str) -> None:
    """A usage error that says why; the file stays as it was, byte by byte."""
    run(file, "add", "atlas")
    run(file, "rotate", "atlas")
    before = file.read_bytes()
    result = run(file, *words)
    assert result.exit_code == 2
    assert why in " ".join(result.output.replace("│", " ").split())
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]  # noqa: PTH208 - hidden files too


def test_a_name_that_no_tenant_can_have_is_told_in_words(file: Path) -> None:
    """And leaves no file."""
    result = run(file, "add", "a b")
    assert result.exit_code == 2
    assert "letters, digits" in result.output
    assert not file.exists()


def test_a_broken_file_is_not_made_worse(file: Path) -> None:
    """Nobody is added to what could not be read."""
    file.write_text("[atlas\n", encoding="utf-8")
    assert run(file, "add", "borea").exit_code == 2
    assert file.read_text(encoding="utf-8") == "[atlas\n"


def test_edits_at_the_same_time_are_all_kept(file: Path) -> None:
    """Ten processes add one tenant each."""
    add = "import sys; from pathlib import Path; from assayd.admission.tenant_file import add_tenant; "
    command = [sys.executable, "-c", add + "add_tenant(Path(sys.argv[1]), sys.argv[2], {})", str(file)]
    running = [subprocess.Popen([*command, f"team-{number}"]) for number in range(10)]
    assert [process.wait(timeout=120) for process in running] == [0] * 10
    assert len(read_tenants(file)) == 10


def test_the_file_is_that_of_the_settings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``tenants.path`` set nobody has to name it, and the service may listen anywhere."""
    assert CliRunner().invoke(app, ["tenants", "list"]).exit_code == 2
    monkeypatch.setenv("ASSAY_TENANTS__PATH", str(file))
    assert CliRunner().invoke(app, ["tenants", "add", "atlas"]).exit_code == 0
    assert list(read_tenants(file)) == ["atlas"]

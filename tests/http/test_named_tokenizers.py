"""A call that names a tokenizer makes the service read files or download: which ones, the settings say."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from assayd.app import create_app
from assayd.settings import EngineName, ServerSettings, Settings

FAKE = {part: {"engine": EngineName.FAKE} for part in ("critic", "rewriter", "segment", "sequence")}
Open = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def shelf(tmp_path: Path, letter_folder: str) -> Path:
    """A folder of tokenizers, and one beside it."""
    for name in ("shelf/listed", "outside"):
        shutil.copytree(letter_folder, tmp_path / name)
    return tmp_path / "shelf"


@pytest.fixture
def listed(serve_app: Open, shelf: Path) -> Iterator[httpx.Client]:
    """A service that other machines can reach, and in which tokenizers of one folder may be named."""
    server = ServerSettings(host="0.0.0.0", tokenizers=(f"{shelf}/*",))  # noqa: S104 - what is asked for
    with (
        serve_app(create_app(Settings(server=server, **FAKE))) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def asked(client: httpx.Client, name: str) -> httpx.Response:
    """A rollout under the tokenizer of this name."""
    rollout = {"prompt": "hi", "completion": {"token_ids": [1, 2]}}
    body: dict[str, Any] = {"task": "relc-toxicity", "tokenizer": {"name": name}, "rollouts": [rollout]}
    return client.post("/score/token", json=body)


def test_what_is_listed_is_loaded(listed: httpx.Client, shelf: Path) -> None:
    """By its pattern."""
    answer = asked(listed, str(shelf / "listed"))
    assert answer.json()["results"][0]["status"] == "ok", answer.text


@pytest.mark.parametrize("name", ["outside", "shelf/../outside", "/etc", "Qwen/Qwen3-8B", ""])
def test_what_is_not_listed_is_refused(listed: httpx.Client, shelf: Path, name: str) -> None:
    """Whether it exists or not, with the same words, which say what to do; nothing is read or asked for."""
    named = str(shelf.parent / name) if name.endswith("outside") else name
    answer = asked(listed, named)
    assert (answer.status_code, answer.json()["pointer"]) == (422, "/tokenizer/name")
    if name:
        assert "ASSAY_SERVER__TOKENIZERS" in answer.json()["detail"]


def test_without_a_list_only_loopback_may_name_any(serve_app: Open, letter_folder: str) -> None:
    """Who calls from this machine could read the folder himself."""
    for host, status in (("127.0.0.1", 200), ("0.0.0.0", 422)):  # noqa: S104 - what is asked for
        settings = Settings(server=ServerSettings(host=host), **FAKE)
        with serve_app(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
            assert asked(client, letter_folder).status_code == status


def test_the_tokenizer_of_the_foreign_formats_needs_no_mention(serve_app: Open, letter_folder: str) -> None:
    """It comes from the settings already."""
    server = ServerSettings(host="0.0.0.0")  # noqa: S104 - what is asked for
    compat = {"method": "segment", "options": {"normalizer": "none"}, "tokenizer": letter_folder}
    settings = Settings(server=server, compat=compat, **FAKE)
    with serve_app(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert asked(client, letter_folder).status_code == 200


def test_why_a_tokenizer_cannot_be_loaded_names_nothing_of_this_machine(
    embedded: httpx.Client, tmp_path: Path
) -> None:
    """What libraries say goes to the log: the caller is told the kind of error and what to do."""
    (tmp_path / "tokenizer.json").symlink_to(tmp_path / "away.json")
    (tmp_path / "tokenizer_config.json").write_text("{", encoding="utf-8")
    answer = asked(embedded, str(tmp_path))
    assert answer.status_code == 422
    detail = answer.json()["detail"].replace(str(tmp_path), "", 1)
    assert "cannot be loaded" in detail
    assert not any(word in detail for word in (str(tmp_path), "/", "Errno", "Traceback"))

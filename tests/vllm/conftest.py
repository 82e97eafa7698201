"""Services that differ in their engine alone, and the tiny models behind them: made here, on CPU.

The language model learns the replies of ``cases.json`` by heart: a scripted server stands in for it first, and the
prompts that it is sent, with the replies that it gives, are what the model is taught. So what it writes is real text
with spans and edits in it.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from assayd.settings import EngineName, Settings

from .cases import CASES, Recorder, Taught, body_of
from .differences import Differences
from .learning import learned
from .low_rank import low_rank_models
from .models import biased, letter_tokenizer, line_tokenizer, ragged, released, saved, sequence_classifier
from .services import Service, running, service_settings, serving

INSTALLED = find_spec("vllm") is not None
# vLLM has a venv of its own: `make test-vllm`.
collect_ignore_glob = [] if INSTALLED else ["test_*.py"]
ENVIRONMENT = {
    # GiB of key-value cache for each engine, and no claim on any core: several of them share a small machine.
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}
if INSTALLED:
    for _name, _value in ENVIRONMENT.items():
        os.environ.setdefault(_name, _value)
    with warnings.catch_warnings(action="ignore"):
        # Before any test module does it while warnings are errors.
        import_module("assayd.engines.vllm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What vLLM and its dependencies warn of is theirs to mend."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))


_differences = Differences()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how far apart engines were."""
    if _differences.largest:
        terminalreporter.write_line(
            f"largest difference between two engines' numbers: {_differences.largest:.1e}"
        )


@pytest.fixture(scope="session")
def differences() -> Differences:
    """What answers are compared with."""
    return _differences


@pytest.fixture(scope="session")
def taught(_scripted_service: tuple[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """A language model that knows the cases by heart."""
    tokenizer, folder = line_tokenizer(), tmp_path_factory.mktemp("language")
    tokenizer.save_pretrained(folder)
    letters = tmp_path_factory.mktemp("letters")
    letter_tokenizer().save_pretrained(letters)
    record = Recorder(*_scripted_service)
    cases = tuple(record(case, body_of(case, str(folder), str(letters))) for case in CASES)
    model = learned(tokenizer, record.lessons)
    return Taught(saved(model, tokenizer, folder), str(letters), cases)


@pytest.fixture(scope="session")
def rewarding(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Reward models with random weights, by their layout."""
    torch.manual_seed(1)
    root = tmp_path_factory.mktemp("rewarding")
    return {make.__name__: make(root / make.__name__) for make in (biased, sequence_classifier, released)}


@pytest.fixture(scope="session")
def low_rank(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A random language model, a LoRA adapter of it, and both in one."""
    return low_rank_models(tmp_path_factory.mktemp("low_rank"))


@pytest.fixture(scope="session")
def transformers_service(
    serve_app: Callable[..., Any], taught: Taught, rewarding: dict[str, str]
) -> Iterator[Service]:
    """What the others are held against."""
    with running(serve_app, service_settings(EngineName.TRANSFORMERS, taught, rewarding)) as service:
        yield service


@pytest.fixture(scope="session")
def vllm_service(
    serve_app: Callable[..., Any], taught: Taught, rewarding: dict[str, str]
) -> Iterator[Service]:
    """Every role in vLLM."""
    with running(serve_app, service_settings(EngineName.VLLM, taught, rewarding)) as service:
        yield service


@pytest.fixture(scope="session")
def openai_service(serve_app: Callable[..., Any], taught: Taught, vllm_server: str) -> Iterator[Service]:
    """Critic and rewriter behind a server of OpenAI's chat completions; it hosts no reward models."""
    served = {"engine": EngineName.OPENAI, "model": taught.model, "base_url": f"{vllm_server}/v1"}
    fake = {"engine": EngineName.FAKE}
    settings = Settings(critic=served, rewriter=served, segment=fake, sequence=fake)
    with running(serve_app, settings) as service:
        yield service


@pytest.fixture(scope="session")
def vllm_server(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `vllm serve` of the taught model; gives its address."""
    with serving(taught.model, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="session")
def load() -> Callable[[str], Any]:
    """The tokenizer of a folder."""
    return cache(PreTrainedTokenizerFast.from_pretrained)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """A few completions of very different lengths."""
    return ragged(9)


@pytest.fixture(scope="session")
def many() -> list[str]:
    """64 completions of very different lengths."""
    return ragged(64, seed=1)

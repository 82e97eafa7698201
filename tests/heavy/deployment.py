"""The parts of a small deployment, each a process of its own.

Replicas, the critic that they ask, nginx in front, and a Prometheus that looks on.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from ..processes import Process, answers, assayd, free_port, program

DOCKER = Path(__file__).parents[2] / "docker"
SAMPLE = DOCKER / "nginx.conf"
SCRAPED = DOCKER / "prometheus.yml"


def critic(folder: Path) -> Process:
    """The critic that the replicas ask."""
    port = free_port()
    command = [sys.executable, "-m", "tests.heavy.critic_server", str(port)]
    return Process(command, folder / "critic.log", port)


def replica(folder: Path, name: str, critic_url: str, **settings: object) -> Process:
    """``assayd serve`` with a critic elsewhere; ``settings`` as in ``server__drain_s=2``."""
    judge = {
        "critic__engine": "openai",
        "critic__model": "scripted",
        "critic__base_url": f"{critic_url}/v1",
    }
    return assayd(folder / f"{name}.log", weightless=True, **judge, **settings)


def nginx(folder: Path, replicas: Iterable[Process]) -> Process:
    """A plain user's nginx, with the sample configuration of ``docker/``, in front of replicas."""
    port = free_port()
    sample = SAMPLE.read_text().replace("listen 8080;", f"listen 127.0.0.1:{port};")
    for number, one in enumerate(replicas, start=1):
        sample = sample.replace(f"assayd-{number}:8000", f"127.0.0.1:{one.port}")
    temporary = "".join(
        f"{name}_temp_path {folder / name};\n"
        for name in ("proxy", "client_body", "fastcgi", "uwsgi", "scgi")
    )
    access = f"log_format calls '$request_id $status $upstream_status';\naccess_log {folder / 'access.log'} calls;\n"
    # Started by root, its workers would be nobody, whom this folder does not let in.
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "sample.conf").write_text(sample)
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder / 'nginx.pid'};\nerror_log {folder / 'nginx.log'};\nevents {{}}\n"
        f"http {{\n{temporary}{access}include {folder / 'sample.conf'};\n}}\n"
    )
    options = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.log")]
    return Process([program("nginx"), *options], folder / "nginx.out", port)


def prometheus(folder: Path, replicas: Iterable[Process], key: str, every_s: int) -> Process:
    """A Prometheus that scrapes as ``docker/`` says, but these replicas, with an operator's key, at its own pace."""
    port = free_port()
    config = yaml.safe_load(SCRAPED.read_text())
    config["global"] = {"scrape_interval": f"{every_s}s", "scrape_timeout": f"{every_s}s"}
    (job,) = (one for one in config["scrape_configs"] if one["job_name"] == "assayd")
    job["static_configs"] = [{"targets": [f"127.0.0.1:{one.port}" for one in replicas]}]
    job["authorization"] = {"credentials": key}
    config["scrape_configs"] = [job]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    options = [
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    command = [program("prometheus"), *options]
    return Process(command, folder / "prometheus.log", port, ready=answers("/-/ready", 200))

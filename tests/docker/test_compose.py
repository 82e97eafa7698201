"""docker-compose.yml and .env.example: what can be known of them without starting a container."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).parents[2]
SERVICES = ("assayd", "assayd-cpu", "redis", "prometheus", "grafana")
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def test_each_profile_runs_one_assayd(compose: dict[str, Any]) -> None:
    """And all the rest; nothing runs without a profile, so a bare `up` with no .env starts no half of it."""
    services = compose["services"]
    for profile, own in {"gpu": "assayd", "cpu": "assayd-cpu"}.items():
        running = {name for name, service in services.items() if profile in service["profiles"]}
        assert running == {own, "redis", "prometheus", "grafana"}
    # Whoever starts both by hand is stopped by the port.
    assert services["assayd"]["ports"] == services["assayd-cpu"]["ports"]


def test_the_images_of_assayd_are_targets_of_the_dockerfile(
    compose: dict[str, Any], stages: dict[str, list[tuple[str, str]]]
) -> None:
    """A GPU host gets vLLM, and the CPU profile no settings of a GPU host."""
    gpu, cpu = compose["services"]["assayd"], compose["services"]["assayd-cpu"]
    assert (gpu["build"]["target"], cpu["build"]["target"]) == ("vllm", "cpu")
    assert {"vllm", "cpu"} <= set(stages)
    assert (ROOT / gpu["build"]["dockerfile"]).is_file()
    assert gpu["env_file"] == [".env"]
    assert "env_file" not in cpu
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "deploy" not in cpu


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_confined_and_comes_back(compose: dict[str, Any], name: str) -> None:
    """No capability, no way to gain one, a root file system that is not written, bounded logs, a restart policy."""
    service = compose["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] in (True, "${ASSAYD_READ_ONLY:-true}")
    assert service["restart"] == "unless-stopped"
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert "privileged" not in service


@pytest.mark.parametrize("name", ["redis", "prometheus", "grafana"])
def test_foreign_images_are_pinned_and_watched(compose: dict[str, Any], name: str) -> None:
    """To a full version; assayd's own health check is in its image."""
    service = compose["services"][name]
    assert re.search(r":v?\d+\.\d+\.\d+", service["image"])
    assert service["healthcheck"]["test"][0] == "CMD"


def test_what_is_waited_for_can_be_healthy(compose: dict[str, Any]) -> None:
    """Each dependency has a health check and runs in the same profiles."""
    services = compose["services"]
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[other]
            assert set(service["profiles"]) <= set(services[other]["profiles"])


def test_redis_is_a_cache(compose: dict[str, Any]) -> None:
    """It writes nothing to disk, forgets what was not asked for longest, and no other machine can reach it."""
    service = compose["services"]["redis"]
    command = service["command"]
    flags = dict(zip(command[1::2], command[2::2], strict=True))
    assert (flags["--save"], flags["--appendonly"], flags["--maxmemory-policy"]) == ("", "no", "allkeys-lru")
    assert "--maxmemory" in flags
    assert "ports" not in service


def test_volumes_are_declared_and_files_exist(compose: dict[str, Any]) -> None:
    """A named volume is in `volumes`; a mounted path is in the repository and read-only."""
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (ROOT / source).exists()
                assert rest.endswith(":ro")
            else:
                assert source in compose["volumes"]


def test_the_variables_of_the_compose_file_are_in_the_example() -> None:
    """With the same default, so that `.env` says what happens without it; published on loopback only."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = dict(VARIABLE.findall(text))
    example = dotenv_values(ROOT / ".env.example")
    assert len(defaults) == 6
    assert {name: example.get(name) for name in defaults} == defaults
    assert example["COMPOSE_PROFILES"] == "gpu"
    published = [value for name, value in defaults.items() if name.endswith("_LISTEN")]
    assert all(value.startswith("127.0.0.1:") for value in published)


def test_prometheus_scrapes_the_assayd_that_runs(compose: dict[str, Any]) -> None:
    """Both profiles answer to the name and the port that prometheus.yml asks."""
    config = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "assayd"]
    name, _, port = job["static_configs"][0]["targets"][0].partition(":")
    for service in (compose["services"]["assayd"], compose["services"]["assayd-cpu"]):
        assert service["networks"]["default"]["aliases"] == [name]
        assert [published.rsplit(":", 1)[1] for published in service["ports"]] == [port]


def test_the_profiles_share_the_cache_of_the_compose_file(compose: dict[str, Any]) -> None:
    """Its URL names the service."""
    for name in ("assayd", "assayd-cpu"):
        assert compose["services"][name]["environment"]["ASSAY_CACHE__URL"].startswith("redis://redis:")


@pytest.mark.parametrize("name", ["assayd", "assayd-cpu"])
def test_keys_can_be_given_out(compose: dict[str, Any], stages: Any, name: str) -> None:
    """The folder of the tenants file outlives the container, and the user of the image may write to it."""
    service = compose["services"][name]
    (mount,) = [mount for mount in service["volumes"] if mount.endswith(":/tenants")]
    assert mount.partition(":")[0] in compose["volumes"]
    target = stages[service["build"]["target"]]
    made = [arguments for _, arguments in target if "install --directory --owner 2000" in arguments]
    assert made
    assert made[0].split().count("/tenants") == 1

"""What one bad item does to its neighbours, what an empty text is worth, and who notices that weights were swapped.

    python -m tests.heavy.poison
    python -m tests.heavy.poison --litserve /tmp/litserve/bin/python --mosec /tmp/mosec/bin/python

One tiny reward model behind `assayd serve`, and behind other servers where the Python of an environment with them is
named (`pip install torch==2.13.0`, then `pip install transformers litserve==0.2.19`, or `mosec==0.9.8`). Their workers
are those of their documentation, in `peers/`. Every system is asked the same, and the table says what came back.
Leaves with 1 where Assay does not answer as designed.
"""

import argparse
import asyncio
import math
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from ..processes import Process, answers, assayd, free_port
from .peers.reward_model import OVERFLOWING, UNKNOWN, make

NEIGHBOURS = 63
TIMEOUT_S = 60.0
ROUNDING = 1e-4
PEERS = ("litserve", "mosec")
PEERS_AT = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class Said:
    """What became of one text: a reward, or what was said instead."""

    reward: float | None
    otherwise: str

    def __str__(self) -> str:
        return self.otherwise if self.reward is None else f"reward {self.reward:.4g}"


@dataclass(frozen=True, slots=True)
class System:
    """One server: how to start it on a model, whom to ask for a reward, and where it tells how it is."""

    name: str
    start: Callable[[Path], Process]
    ask: Callable[[httpx.AsyncClient, str], Awaitable[Said]]
    health: str


async def ask_assay(client: httpx.AsyncClient, text: str, pin: str = "*") -> Said:
    """One rollout of ``/score/sequence``."""
    body = {
        "rollouts": [{"prompt": "", "completion": {"text": text}}],
        "options": {"components": [{"name": "reward", "activation": "raw"}], "value_source": "none"},
        "timeout_s": TIMEOUT_S,
    }
    answer = await client.post("/score/sequence", json=body, headers={"If-Reward-Match": pin})
    if answer.status_code != 200:
        return Said(None, f"{answer.status_code} {answer.json()['kind']}")
    (result,) = answer.json()["results"]
    if result["status"] == "ok":
        return Said(result["reward"], "")
    return Said(None, f"failed: {result['failure']['kind']}" + _quarantined(result["failure"]["detail"]))


def _quarantined(detail: str) -> str:
    return " (in quarantine)" if "in quarantine" in detail else ""


async def ask_plainly(path: str, client: httpx.AsyncClient, text: str) -> Said:
    """A text to a server of a few lines."""
    try:
        answer = await client.post(path, json={"text": text})
        reward = answer.json()["reward"] if answer.status_code == 200 else None
    except httpx.TransportError as error:
        return Said(None, type(error).__name__)
    except (ValueError, LookupError):
        return Said(None, f"{answer.status_code} {answer.text[:30]!r}")
    if reward is None or not math.isfinite(reward):
        return Said(None, f"{answer.status_code} {answer.text[:30]!r}")
    return Said(reward, "")


def hosted(folder: Path, model: Path) -> Process:
    """``assayd serve`` on a model, its canary remembered, its answers not; healthy or not."""
    settings = {
        "sequence__engine": "transformers",
        "sequence__model": str(model),
        "sequence__dtype": "float32",
        "sequence__device": "cpu",
        "health__canaries": str(folder / "canaries.json"),
        "cache__max_mb": "0.000001",
    }
    return assayd(folder / "assayd.log", weightless=True, ready=answers("/readyz"), **settings)


def peer(name: str, python: Path, folder: Path, model: Path) -> Process:
    """Another server on a model."""
    port = free_port()
    script, flag = str(PEERS_AT / f"{name}_app.py"), ["--port"] if name == "mosec" else []
    command = [str(python), script, str(model), *flag, str(port)]
    return Process(command, folder / f"{name}.log", port, ready=answers("/"))


def systems(said: argparse.Namespace, folder: Path) -> list[System]:
    """Assay, and whoever else is there."""
    found = [System("assay", partial(hosted, folder), ask_assay, "/readyz")]
    paths = {"litserve": ("/predict", "/health"), "mosec": ("/inference", "/")}
    for name, (path, health) in paths.items():
        if (python := getattr(said, name)) is not None:
            start = partial(peer, name, python, folder)
            found.append(System(name, start, partial(ask_plainly, path), health))
    return found


async def answered(system: System, url: str, texts: Sequence[str], at_once: bool = True) -> list[Said]:
    """What becomes of texts that are sent at the same time, one a request; or one after the other."""
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        if at_once:
            return list(await asyncio.gather(*(system.ask(client, text) for text in texts)))
        return [await system.ask(client, text) for text in texts]


def in_company(
    system: System, url: str, bad: str, good: Sequence[str], worth: Sequence[Said]
) -> tuple[str, int]:
    """What the bad text is told among the good ones, and how many of those are told what they are worth."""
    texts = [*good[: NEIGHBOURS // 2], bad, *good[NEIGHBOURS // 2 :]]
    outcomes = asyncio.run(answered(system, url, texts))
    said = outcomes.pop(NEIGHBOURS // 2)
    kept = sum(_same(one, other) for one, other in zip(outcomes, worth, strict=True))
    return str(said), kept


def _same(one: Said, other: Said) -> bool:
    return one.reward is not None and other.reward is not None and abs(one.reward - other.reward) <= ROUNDING


def examined(system: System, folder: Path) -> dict[str, str]:
    """What came back, by case."""
    model = folder / "model"
    good = [f"The answer to number {number} is {number * number}." for number in range(NEIGHBOURS)]
    told: dict[str, str] = {}
    make(model, seed=1)
    with system.start(model) as server:
        url = server.url
        _await_health(system, url)
        worth = asyncio.run(answered(system, url, good, at_once=False))
        for name, bad in (("unknown token", f"a {UNKNOWN}"), ("overflow", f"a {OVERFLOWING}"), ("empty", "")):
            said, kept = in_company(system, url, bad, good, worth)
            (alone,) = asyncio.run(answered(system, url, [bad]))
            told[f"{name} among {NEIGHBOURS}"] = f"{said}; {kept} of {NEIGHBOURS} neighbours judged"
            told[f"{name} alone"] = str(alone)
        (after,) = asyncio.run(answered(system, url, good[:1]))
        told["a good item after all that"] = "as before" if _same(after, worth[0]) else str(after)
        told["health then"] = str(_health(system, url).status_code)
    make(model, seed=2)
    with system.start(model) as server:
        url = server.url
        _await_health(system, url)
        (swapped,) = asyncio.run(answered(system, url, good[:1]))
        told["weights swapped"] = "the old reward" if _same(swapped, worth[0]) else f"another {swapped}"
        health = _health(system, url)
        told["health then, swapped"] = str(health.status_code)
        if system.name == "assay":
            print(health.json()["complaints"]["sequence reward"])
            told["pinned to the recipe of before"] = str(asyncio.run(_pinned(url, good[0])))
    return told


async def _pinned(url: str, text: str) -> Said:
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        return await ask_assay(client, text, pin="sha256:" + "0" * 64)


def _health(system: System, url: str) -> httpx.Response:
    return httpx.get(url + system.health, timeout=TIMEOUT_S, trust_env=False)


def _await_health(system: System, url: str) -> None:
    """Some servers listen before their workers have loaded the model: until one answers."""
    for _ in range(100):
        (said,) = asyncio.run(answered(system, url, ["Are you there?"]))
        if said.reward is not None:
            return
    raise SystemExit(f"{system.name} judges nothing: {said}")


DESIGNED = {
    f"unknown token among {NEIGHBOURS}": f"failed: engine; {NEIGHBOURS} of {NEIGHBOURS} neighbours judged",
    "unknown token alone": "failed: engine",
    f"overflow among {NEIGHBOURS}": f"failed: engine; {NEIGHBOURS} of {NEIGHBOURS} neighbours judged",
    "overflow alone": "failed: engine (in quarantine)",
    f"empty among {NEIGHBOURS}": f"failed: empty; {NEIGHBOURS} of {NEIGHBOURS} neighbours judged",
    "empty alone": "failed: empty",
    "a good item after all that": "as before",
    "health then": "200",
    "health then, swapped": "503",
    "pinned to the recipe of before": "412 invalid",
}


def main() -> None:
    """Ask every system, print the table, and hold Assay to its design."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in PEERS:
        parser.add_argument(f"--{name}", type=Path, help="Python of an environment with it")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = {system.name: examined(system, folder) for system in systems(said, folder)}
    print(f"{'':34}" + "".join(f"{name:50}" for name in columns))
    for case in columns["assay"]:
        print(f"{case:34}" + "".join(f"{told.get(case, '-')[:48]:50}" for told in columns.values()))
    wrong = [case for case, designed in DESIGNED.items() if columns["assay"][case] != designed]
    if wrong:
        raise SystemExit(f"Assay does not answer as designed: {', '.join(wrong)}")
    print("Assay answers as designed")


if __name__ == "__main__":
    main()

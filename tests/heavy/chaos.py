"""Everything that two replicas stand on is killed, frozen, flushed, filled and started again, one after the other.

    python -m tests.heavy.chaos
    python -m tests.heavy.chaos --away-s 2 --workers 4

Two replicas behind nginx share a Redis and a critic. Calls go on all the time; each phase prints what became of its
own. Every answer is compared with that of an undisturbed run: none may be wrong, none may be missing, every call is
accounted for, and only while the critic is away may a rollout fail (`engine`, `past_deadline`) or a call be refused
(503 with a reason). Needs nginx and redis-server.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx

from ..processes import wait_until
from ..redis_server import RedisServer
from .deployment import critic, nginx, replica
from .load import Account, Load, undisturbed

ROLLOUTS = 80
TIMEOUT_S = 5.0
MAY_FAIL = frozenset({"right", "failed (engine)", "failed (past_deadline)"})
MAY_BE_REFUSED = frozenset({"answered", "refused (503 engine)", "refused (503 overloaded)"})


class Deployment:
    """Two replicas behind nginx, and what they stand on."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.redis = stack.enter_context(RedisServer(folder))
        self.critic = stack.enter_context(critic(folder))
        # What is remembered is forgotten soon, so that the critic is asked all the time.
        settings = {"cache__url": self.redis.url, "cache__ttl_s": 2, "server__drain_s": 1}
        self.replicas = [
            stack.enter_context(replica(folder, f"assayd-{number}", self.critic.url, **settings))
            for number in (1, 2)
        ]
        self.front = stack.enter_context(nginx(folder, self.replicas))

    def metric(self, name: str) -> float:
        """The sum of a metric over both replicas, as far as they still count from before."""
        lines = [line for one in self.replicas for line in httpx.get(f"{one.url}/metrics").text.splitlines()]
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def flush(self) -> None:
        """Redis forgets everything, again and again."""
        for _ in range(10):
            self.redis.client.flushall()
            time.sleep(0.1)

    def restart_replicas(self) -> None:
        """Each is sent SIGTERM and started again."""
        for one in self.replicas:
            code, _ = one.end()
            if code != 0:
                raise SystemExit(f"a replica ended with {code}: {one.said[-2000:]}")
            one.start()


def nothing() -> None:
    """Let it be."""


def main() -> None:
    """One phase after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--away-s", type=float, default=8.0, help="how long each thing is away")
    parser.add_argument("--workers", type=int, default=12, help="clients that call without a pause")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        world = Deployment(Path(name), stack)
        right = undisturbed(world.replicas[0].url, ROLLOUTS)
        phases: list[tuple[str, Callable[[], None], Callable[[], None]]] = [
            ("undisturbed", nothing, nothing),
            ("Redis killed", world.redis.kill, world.redis.start),
            ("Redis frozen", world.redis.freeze, world.redis.thaw),
            ("Redis flushed", world.flush, nothing),
            ("Redis filled", world.redis.fill, world.redis.empty_out),
            ("critic frozen", world.critic.freeze, world.critic.thaw),
            ("critic killed", world.critic.kill, world.critic.start),
            ("replicas restarted", world.restart_replicas, nothing),
        ]
        print(
            f"{'':20}{'calls':>7}{'answered':>10}{'refused':>9}{'none':>6}{'right':>8}{'failed':>8}{'wrong':>7}"
        )
        broken = [title for title, *how in phases if not phase(world, right, said, title, *how)]
        across, alone = (
            world.metric(f'assay_cache_claims_total{{outcome="{outcome}"}}')
            for outcome in ("shared_across", "alone")
        )
        print(
            f"since the restart: {across:.0f} rollouts judged by the other replica, {alone:.0f} without asking it"
        )
    print(
        f"BROKEN: {', '.join(broken)}"
        if broken
        else "no wrong reward, no call without an answer, all accounted for"
    )
    raise SystemExit(bool(broken))


def phase(
    world: Deployment,
    right: dict[int, dict[str, object]],
    said: argparse.Namespace,
    title: str,
    mistreat: Callable[[], object],
    mend: Callable[[], object],
) -> bool:
    """Calls before, during and after one mistreatment; whether all promises were kept."""
    load = Load(world.front.url, right, workers=said.workers, timeout_s=TIMEOUT_S)
    with load.running() as account:
        time.sleep(1.0)
        mistreat()
        time.sleep(said.away_s)
        mend()
        wait_until(
            lambda: all(one.ready() for one in world.replicas), f"{title}: the replicas did not recover"
        )
        time.sleep(1.0)
    print(row(title, account))
    critic_away = title.startswith("critic")
    calls, rollouts = (MAY_BE_REFUSED, MAY_FAIL) if critic_away else ({"answered"}, {"right"})
    kept = account.complete and set(account.calls) <= calls and set(account.rollouts) <= rollouts
    if not kept or critic_away:
        print(f"    {account}")
    return kept and account.rollouts["right"] > 0


def row(title: str, account: Account) -> str:
    """One line of the table."""
    answered = account.calls["answered"]
    refused = account.sent - answered - account.unanswered
    failed = sum(count for outcome, count in account.rollouts.items() if outcome.startswith("failed"))
    return (
        f"{title:20}{account.sent:7}{answered:10}{refused:9}{account.unanswered:6}"
        f"{account.rollouts['right']:8}{failed:8}{account.wrong:7}"
    )


if __name__ == "__main__":
    main()

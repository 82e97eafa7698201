"""A heavy tenant with thousands of rollouts queued, and a light one beside it: who waits for whom.

    python -m tests.heavy.neighbours
    python -m tests.heavy.neighbours --queued 500 --calls 15

The embedded models, in a service of their own with two tenants and their keys. The light tenant calls alone, one call
after the other; then again while the heavy one's rollouts wait. Prints the figures; exits 1 unless the light one's p95
stays under twice what it is alone, plus one batch, by which is meant the time of a call alone that fills one.
"""

import argparse
import asyncio
import re
import tempfile
from pathlib import Path

from assayd.admission.tenant_file import add_tenant

from ..processes import assayd
from .calls import Calls, Client
from .figures import Promises, percentile

PATIENCE_S = 3000.0
HEAVY_CALL = 100
BATCH_ROLLOUTS = 4
"""Of some 100 tokens each: about what one pass of either model holds on a CPU."""


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


async def latencies_s(client: Client, calls: Calls, key: str, count: int, rollouts: int) -> list[float]:
    """How long each of some calls took, one after the other."""
    told = []
    for _ in range(count):
        answer = await client.score(calls.body(rollouts, PATIENCE_S), PATIENCE_S, bearer(key))
        if set(answer.outcomes) != {"ok"}:
            raise SystemExit(f"not judged: {answer.outcomes}")
        told.append(answer.took_s)
    return told


async def waiting(client: Client, key: str) -> int:
    """How many requests of the heavy tenant wait, over all engines."""
    metrics = await client.ask("GET", "/metrics", headers=bearer(key))
    found = re.findall(
        r'^assay_queue_requests\{.*tenant="heavy"\} (\S+)$', metrics.body.decode(), re.MULTILINE
    )
    return sum(int(float(value)) for value in found)


async def measured(port: int, heavy: str, light: str, said: argparse.Namespace) -> None:
    """The light tenant alone and in company."""
    client, calls = Client(port), Calls(said.seed)
    await latencies_s(client, calls, light, 5, said.rollouts)
    batch_s = percentile(await latencies_s(client, calls, light, 5, BATCH_ROLLOUTS), 0.5)
    alone_s = await latencies_s(client, calls, light, said.calls, said.rollouts)
    crowd = [
        asyncio.create_task(client.score(calls.body(HEAVY_CALL, PATIENCE_S), PATIENCE_S, bearer(heavy)))
        for _ in range(-(-said.queued // HEAVY_CALL))
    ]
    queued = 0
    while queued < 0.9 * said.queued:
        if all(task.done() for task in crowd):
            raise SystemExit("the heavy tenant's rollouts do not queue: more of them, by --queued")
        await asyncio.sleep(0.1)
        queued = max(queued, await waiting(client, heavy))
    beside_s = await latencies_s(client, calls, light, said.calls, said.rollouts)
    left = await waiting(client, heavy)
    for task in crowd:
        task.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)
    for name, values in (("alone", alone_s), ("beside the heavy one", beside_s)):
        print(f"{name}: p50 {percentile(values, 0.5):.2f} s, p95 {percentile(values, 0.95):.2f} s")
    print(f"one batch: {batch_s:.2f} s; of the heavy tenant {queued} waited at first and {left} at last")
    promises = Promises()
    promises.check("the heavy tenant was there all the time", kept=left > 0, told=left)
    most_s, p95_s = 2 * percentile(alone_s, 0.95) + batch_s, percentile(beside_s, 0.95)
    promises.check(
        "the light tenant's p95 is under twice what it is alone, plus one batch",
        kept=p95_s < most_s,
        told=f"{p95_s:.2f} s, at most {most_s:.2f} s",
    )
    give_up_after = 60
    while (left := await waiting(client, heavy)) and give_up_after:
        await asyncio.sleep(1.0)
        give_up_after -= 1
    promises.check("who hangs up leaves the line", kept=left == 0, told=left)
    promises.leave()


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queued", type=int, default=2000, help="rollouts of the heavy tenant")
    parser.add_argument("--calls", type=int, default=40, help="of the light tenant, each time")
    parser.add_argument("--rollouts", type=int, default=4, help="in a call of the light tenant")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tenants.toml"
        heavy, light = add_tenant(file, "heavy", {"operator": True}), add_tenant(file, "light", {})
        settings = {"tenants__path": str(file), "server__max_rollouts": "100000"}
        with assayd(Path(folder) / "assayd.log", **settings) as hosted:
            asyncio.run(measured(hosted.port, heavy, light, said))


if __name__ == "__main__":
    main()

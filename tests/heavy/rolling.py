"""A rolling restart behind nginx: each of two replicas in turn is sent SIGTERM and started again, and no call is lost.

    python -m tests.heavy.rolling
    python -m tests.heavy.rolling --rounds 1 --workers 4

nginx runs ``docker/nginx.conf``. Every answer is compared with that of an undisturbed run, every call accounted for:
all must be answered 200, all rollouts right, both replicas exit with 0 each time. Needs nginx and nothing else.
"""

import argparse
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from .deployment import critic, nginx, replica
from .load import Load, undisturbed

ROLLOUTS = 400


def main() -> None:
    """Restart them all, and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each replica is restarted")
    parser.add_argument("--workers", type=int, default=16, help="clients that call without a pause")
    parser.add_argument("--drain-s", type=float, default=1.0)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        judge = stack.enter_context(critic(folder))
        # Each judges anew, so that calls are long under way: what they remember would hide what is lost.
        settings = {"server__drain_s": str(said.drain_s), "cache__ttl_s": "0.001"}
        replicas = [
            stack.enter_context(replica(folder, f"assayd-{number}", judge.url, **settings))
            for number in (1, 2)
        ]
        front = stack.enter_context(nginx(folder, replicas))
        right = undisturbed(replicas[0].url, ROLLOUTS)
        load = Load(front.url, right, workers=said.workers)
        codes = []
        began_s = time.monotonic()
        with load.running() as account:
            time.sleep(1.0)
            for turn in range(said.rounds):
                for number, one in enumerate(replicas, start=1):
                    code, took_s = one.end()
                    codes.append(code)
                    one.start()
                    print(
                        f"round {turn + 1}: replica {number} ended with {code} after {took_s:.1f} s, is back"
                    )
                    time.sleep(0.5)
        took_s = time.monotonic() - began_s
        passed_on = Counter(
            line.split(maxsplit=2)[2] for line in (folder / "access.log").read_text().splitlines()
        )
    print(f"{took_s:.0f} s, {account}")
    print("as nginx saw it (statuses of the replicas asked, in order): " + str(dict(passed_on)))
    fine = set(account.calls) == {"answered"} and set(account.rollouts) == {"right"} and account.complete
    print("no call was lost" if fine and set(codes) == {0} else "BROKEN")
    raise SystemExit(not (fine and set(codes) == {0}))


if __name__ == "__main__":
    main()

"""Anything at all is sent to a real ``assayd serve``: no 5xx but the documented 503 and 504, no hang, memory flat.

    python -m tests.heavy.fuzz                       # 5,000 cases a route by schemathesis, 20,000 hostile bodies
    python -m tests.heavy.fuzz --cases 20 --bodies 200 --wires 20
    python -m tests.heavy.fuzz --route /score/token --cases 5000 --bodies 0

Three fuzzers: schemathesis makes cases of every route from the OpenAPI document, such as fit it and such as do not;
``bodies`` spoils valid calls (nesting, huge numbers, lone surrogates, 10 MB texts, offsets out of order, encodings);
``wires`` breaks connections off. The engines have no weights unless ``--embedded``. Meanwhile somebody else asks for
``/healthz``: its longest wait is how long the service stood still. Each thousand cases its memory is printed.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import httpx

from ..processes import Process, assayd
from .fuzzing import bodies, fitting, schemas, wires
from .fuzzing.verdicts import PATIENCE_S, Verdicts
from .fuzzing.watching import Watch

THREADS = 4
SETTINGS = {**fitting.SETTINGS, "cache__max_mb": "8", "server__default_timeout_s": "10"}
"""A cache that is still filling looks like a leak."""
STILL_S = 10.0
"""The longest that ``/healthz`` may take meanwhile."""
GROWTH_MB = 64.0
"""By how much the memory of the last quarter may lie above that of the second.

While texts of 10 MB come in, four at once, what the allocator keeps of them swings by 60 MB; without them by 1 MB.
"""


def by_schema(service: Process, said: argparse.Namespace, verdicts: Verdicts, watch: Watch) -> None:
    """Every route of the document."""
    for operation in schemas.operations(service.url):
        if said.route in (None, operation.path):
            began_s = time.monotonic()
            sent = schemas.fuzz(operation, said.cases, said.seed, verdicts, watch.one_more)
            took_s = time.monotonic() - began_s
            print(
                f"schemathesis {operation.method.upper():4} {operation.path}: {sent} cases in {took_s:.0f} s"
            )


def by_body(service: Process, said: argparse.Namespace, verdicts: Verdicts, watch: Watch) -> None:
    """Hostile bodies to the routes that have any, some at once."""
    paths = [path for path in bodies.SEEDS if said.route in (None, path)]
    chance = random.Random(said.seed)
    sources = {path: bodies.cases(random.Random(f"{said.seed} {path}"), path) for path in paths}

    def drawn() -> Iterator[tuple[str, bodies.Case]]:
        while paths:
            path = chance.choice(paths)
            yield path, next(sources[path])

    with (
        httpx.Client(base_url=service.url, timeout=PATIENCE_S, trust_env=False) as client,
        ThreadPoolExecutor(THREADS) as pool,
    ):

        def send(one: tuple[str, bodies.Case]) -> None:
            path, (kind, body, headers) = one
            began_s = time.monotonic()
            try:
                answer = client.post(
                    path, content=body, headers={"Content-Type": "application/json", **headers}
                )
            except httpx.TransportError:
                answer = None
            verdicts.judge(f"{kind} POST {path}", body, answer, time.monotonic() - began_s)

        # In parts: bodies are large, and all of them at once would be the fuzzer's memory.
        cases = islice(drawn(), said.bodies)
        while part := list(islice(cases, 4 * THREADS)):
            for _ in pool.map(send, part):
                watch.one_more()


def by_wire(service: Process, said: argparse.Namespace, verdicts: Verdicts, watch: Watch) -> None:
    """Connections that break off."""
    chance = random.Random(said.seed)
    for _ in range(said.wires):
        if complaint := wires.broken_off(service, chance):
            verdicts.complain(complaint, b"")
        watch.one_more()


def main() -> None:
    """Fuzz, and say what broke."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5000, help="of each route, by schemathesis")
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--wires", type=int, default=1000)
    parser.add_argument("--route", help="only this one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedded", action="store_true", help="the models inside the package, not fakes")
    parser.add_argument("--keep", type=Path, help="folder for what broke; a temporary one when absent")
    said = parser.parse_args()
    folder = said.keep or Path(tempfile.mkdtemp(prefix="assay-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    verdicts = Verdicts(folder)
    with (
        assayd(folder / "service.log", weightless=not said.embedded, **SETTINGS) as service,
        Watch(service) as watch,
    ):
        for fuzz in (by_body, by_wire, by_schema):
            fuzz(service, said, verdicts, watch)
        died = not service.runs
    for path, statuses in sorted(verdicts.statuses.items()):
        told = ", ".join(f"{times} times {status or 'none'}" for status, times in sorted(statuses.items()))
        print(f"{path:22} {told}")
    print(f"memory grew by {watch.grown_mb:.0f} MB between the second and the last quarter")
    print(f"/healthz took {watch.slowest_s:.2f} s at most")
    for what, took_s in Counter(verdicts.longest_s).most_common(5):
        print(f"{took_s:5.2f} s at most for {what}")
    for complaint, times in verdicts.broken.most_common():
        print(f"{times:5} times {complaint}")
    broken = bool(verdicts.broken) or died or watch.grown_mb > GROWTH_MB or watch.slowest_s > STILL_S
    print(f"{'BROKEN' if broken else 'kept'}; the service's log and what broke: {folder}")
    raise SystemExit(broken)


if __name__ == "__main__":
    main()

"""A mixed load of two tenants, so that every panel of the dashboard has something to show.

Judged, remembered and refused: a key that nobody holds, a body that is no JSON, a quota that is spent, a deadline that
cannot be kept, more rollouts at once than the service takes.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...texts import mixed
from ..calls import LINE, ask

TENANTS: dict[str, dict[str, Any]] = {
    "atlas": {"operator": True, "weight": 2.0},
    "birch": {"quotas": [{"requests": 10, "per_s": 20}]},
}
SETTINGS = {"server__max_rollouts": "60", "drift__window": "20"}
"""So small that a minute fills them."""
SEGMENT = {"options": {"normalizer": LINE}}
"""What the replica without models does not know by itself."""
PATIENCE_S = 60.0
POLITE = "thanks dear friend that is very kind of you"
RUDE = "you stupid rat"


class Traffic:
    """Calls to some replicas; ``statuses`` counts what came back."""

    def __init__(self, ports: list[int], keys: dict[str, str], seed: int) -> None:
        self.statuses: Counter[str] = Counter()
        self._ports = ports
        self._keys = keys
        self._dice = random.Random(seed)
        self._numbers = itertools.count()

    async def run(self, seconds: float) -> None:
        """Callers that wait for their answers, all the time; a third of the way through a crowd that does not."""
        ends_s = time.monotonic() + seconds
        callers = [self._caller(tenant, ends_s) for tenant in ("atlas", "birch")]
        await asyncio.gather(*callers, self._rewrites(ends_s), self._crowd(seconds / 3))

    async def _caller(self, tenant: str, ends_s: float) -> None:
        while time.monotonic() < ends_s:
            await (self._misuse(tenant) if self._dice.random() < 0.15 else self._judge(tenant))
            await asyncio.sleep(0.2)

    async def _judge(self, tenant: str) -> None:
        texts = [self._text() for _ in range(self._dice.choice((1, 4)))]
        match self._dice.choice(("relc-toxicity", "math-steps", "segment", "sequence")):
            case "relc-toxicity" as task:
                rude = tenant == "atlas" and self._dice.random() < 0.5
                # Of birch, nothing ever earns anything: an alarm.
                texts = [f"{text} {RUDE}" if rude else f"{POLITE} {text}" for text in texts]
                await self._send(tenant, "/score/token", texts, {"task": task})
            case "math-steps" as task:
                await self._send(tenant, "/score/token", texts, {"task": task})
            case "segment":
                await self._send(tenant, "/score/segment", texts, SEGMENT)
            case _:
                await self._send(tenant, "/score/sequence", texts)

    async def _misuse(self, tenant: str) -> None:
        match self._dice.randrange(3):
            case 0:
                await self._post("/score/token", b"{}", "nobody's key", PATIENCE_S)
            case 1:
                await self._post("/score/token", b'{"rollouts": [', self._keys[tenant], PATIENCE_S)
            case _:
                await self._send(tenant, "/score/segment", ["Too late."], SEGMENT, patience_s=0.001)

    async def _rewrites(self, ends_s: float) -> None:
        while time.monotonic() < ends_s:
            await self._send("atlas", "/rewrite", ["1 + 1 = 3. The answer is 3."], reference="1 + 1 = 2.")
            await asyncio.sleep(1.0)

    async def _crowd(self, after_s: float) -> None:
        """More than the service takes at once, then more than its engine does in time."""
        await asyncio.sleep(after_s)
        for count, patience_s in ((25, PATIENCE_S), (12, 1.0)):
            calls = [
                self._send(
                    "atlas",
                    "/score/segment",
                    [self._text() for _ in range(count)],
                    SEGMENT,
                    patience_s=patience_s,
                )
                for _ in range(8)
            ]
            await asyncio.gather(*calls)

    async def _send(
        self,
        tenant: str,
        route: str,
        texts: list[str],
        asked: Mapping[str, Any] | None = None,
        *,
        patience_s: float = PATIENCE_S,
        reference: str | None = None,
    ) -> None:
        rollouts = [
            {"prompt": "What did they do?", "completion": {"text": text}, "reference": reference}
            for text in texts
        ]
        body = json.dumps({**(asked or {}), "rollouts": rollouts}).encode()
        await self._post(route, body, self._keys[tenant], patience_s)

    async def _post(self, route: str, body: bytes, key: str, patience_s: float) -> None:
        headers = {"Authorization": f"Bearer {key}", "X-Assay-Timeout-S": f"{patience_s:g}"}
        # The first replica judges by models, the others answer at once: it gets most calls.
        port = self._dice.choice([self._ports[0], *self._ports])
        answer = await ask(port, "POST", route, body, headers)
        self.statuses[f"{route} {answer.status}"] += 1

    def _text(self) -> str:
        if self._dice.random() < 0.3:  # one that is asked for again and again
            return f"again {self._dice.randrange(10)}"
        return mixed(str(next(self._numbers)), self._dice)[:300]

"""One call of the service: waits where waiting helps, takes refusals apart, and pins the recipe."""

import asyncio
import math
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec

from .kinds import Kind, failed, lasting
from .plan import differences, goes_by_group
from .stopping import Stopped

_REWARD_MATCH: Final = "If-Reward-Match"
_BUSY: Final = (408, 425, 429, 502, 503, 504)
_TOO_LARGE: Final = 413
_CHANGED: Final = 412
_UNPROCESSABLE: Final = 422
_CRASHED: Final = 500
_CRASHES: Final = 3
_TRAVEL_S: Final = 30.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 30.0
_OF_ROLLOUT: Final = re.compile(r"^/rollouts/(\d+)(/.*)?$")

Result = dict[str, Any]


class RecipeChangedError(Stopped):
    """The service would judge otherwise than it has judged the rows so far."""


@dataclass
class Caller:
    """Calls one service, for as long as it takes.

    ``asked`` is what every call says besides its rollouts. A service that is busy or away is asked again until
    ``patience_s`` have passed since it first was. ``recipes`` are those that the rows so far were judged
    by, and grow by every annotation's first answer; a service that has changed since is refused.
    """

    http: httpx.AsyncClient
    asked: Mapping[str, Mapping[str, Any]]
    timeout_s: float
    patience_s: float
    recipes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    waits: int = 0

    async def judge(
        self, kind: Kind, rollouts: Sequence[Mapping[str, Any]], *, crashes: int = _CRASHES
    ) -> list[Result]:
        """One result per rollout, in order; raises ``Stopped`` when no result can be had.

        A service that crashes is asked again until it has done so ``crashes`` times.
        """
        if not rollouts:
            return []
        response = await self._answer(kind, rollouts, crashes)
        if response.is_success:
            return self._results(kind, response, rollouts)
        problem = _problem(response)
        faults = [
            fault
            for fault in problem.get("errors") or [problem]
            if _OF_ROLLOUT.match(fault.get("pointer") or "")
        ]
        if response.status_code == _UNPROCESSABLE and faults:
            return await self._without(kind, rollouts, faults)
        whole = response.status_code == _UNPROCESSABLE and problem.get("pointer") == "/rollouts"
        if response.status_code in (_TOO_LARGE, _CRASHED) or whole:
            return await self._halved(kind, rollouts, problem)
        if response.status_code == _CHANGED:
            raise await self._changed(kind, rollouts[0])
        raise Stopped(f"{kind.path} refuses the call: {_told(response, problem)}")

    async def _answer(
        self, kind: Kind, rollouts: Sequence[Mapping[str, Any]], crashes: int
    ) -> httpx.Response:
        """What the service says once it is neither away nor busy, nor crashes by accident."""
        wait_s, give_up_at = _FIRST_WAIT_S, math.inf
        while True:
            try:
                response = await self._post(kind, rollouts)
            except httpx.TransportError as error:
                why, after_s = f"no answer from {self.http.base_url} ({error or type(error).__name__})", 0.0
            else:
                crashes -= response.status_code == _CRASHED
                if response.status_code not in (*_BUSY, _CRASHED) or crashes == 0:
                    return response
                why, after_s = _told(response, _problem(response)), _retry_after_s(response)
            pause_s = max(after_s, wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads callers, no secret
            give_up_at = min(give_up_at, time.monotonic() + self.patience_s)
            if time.monotonic() + pause_s > give_up_at:
                raise Stopped(f"gave up on {kind.path} after {self.patience_s:g} s: {why}")
            self.waits += 1
            await asyncio.sleep(pause_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _post(
        self, kind: Kind, rollouts: Sequence[Mapping[str, Any]], *, pinned: bool = True
    ) -> httpx.Response:
        body = {**self.asked[kind.name], "rollouts": rollouts, "timeout_s": self.timeout_s}
        headers = {"Content-Type": "application/json"}
        if pinned and kind.name in self.recipes:
            headers[_REWARD_MATCH] = self.recipes[kind.name]["id"]
        return await self.http.post(
            kind.path,
            content=msgspec.json.encode(body),
            headers=headers,
            timeout=httpx.Timeout(self.timeout_s + _TRAVEL_S, connect=_TRAVEL_S),
        )

    def _results(
        self, kind: Kind, response: httpx.Response, rollouts: Sequence[Mapping[str, Any]]
    ) -> list[Result]:
        try:
            answer = msgspec.json.decode(response.content)
            results, recipe = answer["results"], answer["recipe"]
            answered = [result["id"] for result in results]
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            raise Stopped(f"{response.url} is no route of this service's: {response.text[:200]}") from error
        if answered != [rollout["id"] for rollout in rollouts]:
            raise Stopped(
                f"{response.url} gave {len(results)} results for {len(rollouts)} rollouts, or in another order"
            )
        known = self.recipes.setdefault(kind.name, recipe)
        if known["id"] != recipe["id"]:
            raise _refusal(kind, known, recipe)
        return [lasting(result) for result in results]

    async def _without(
        self, kind: Kind, rollouts: Sequence[Mapping[str, Any]], faults: Sequence[Mapping[str, Any]]
    ) -> list[Result]:
        """Rollouts that the whole call was refused for fail alone."""
        results: dict[int, Result] = {}
        for fault in faults:
            match = _OF_ROLLOUT.match(fault["pointer"])
            assert match is not None  # noqa: S101 - faults were chosen by it
            pointer = match[2] or ""
            results.setdefault(int(match[1]), failed("invalid", f"{pointer.lstrip('/')}: {fault['detail']}"))
        left = [index for index in range(len(rollouts)) if index not in results]
        judged = await self.judge(kind, [rollouts[index] for index in left])
        results.update(zip(left, judged, strict=True))
        return [results[index] for index in range(len(rollouts))]

    async def _halved(
        self, kind: Kind, rollouts: Sequence[Mapping[str, Any]], problem: Mapping[str, Any]
    ) -> list[Result]:
        """A call that is too much for the service is made in parts; one rollout that is too much fails."""
        if len(rollouts) == 1:
            return [failed(problem["kind"], problem["detail"])]
        if goes_by_group(self.asked[kind.name]):
            raise Stopped(
                f"{kind.path} cannot take a group of {len(rollouts)} rollouts at once: {problem['detail']}"
            )
        half = len(rollouts) // 2
        parts = (rollouts[:half], rollouts[half:])
        return [result for part in parts for result in await self.judge(kind, part, crashes=1)]

    async def _changed(self, kind: Kind, rollout: Mapping[str, Any]) -> Stopped:
        """Ask for one rollout without the pin, to tell what has changed."""
        response = await self._post(kind, [rollout], pinned=False)
        known = self.recipes[kind.name]
        return _refusal(
            kind, known, msgspec.json.decode(response.content)["recipe"] if response.is_success else {}
        )


def _refusal(kind: Kind, known: Mapping[str, Any], now: Mapping[str, Any]) -> RecipeChangedError:
    parts = [change for change in differences(known, now) if not change.startswith("id:")] if now else []
    return RecipeChangedError(
        f"the recipe of {kind.path} has changed ({'; '.join(parts) or 'its weights or code'}): serve what the rows so "
        "far were judged by, or begin anew with --fresh"
    )


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        problem = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    return {"kind": "internal", "detail": response.text[:200] or "no reason given", **problem}


def _told(response: httpx.Response, problem: Mapping[str, Any]) -> str:
    return f"{response.status_code} {problem['kind']}: {problem['detail']}"


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return max(float(response.headers.get("Retry-After", 0)), 0.0)
    except ValueError:  # a date: the growing pauses do
        return 0.0

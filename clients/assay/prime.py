"""Assay in prime-rl and verifiers: dense advantages, or a reward of a task.

Written against prime-rl 0.8 and verifiers 0.4.

In an orchestrator of your own, before prime-rl's is started::

    from assay.prime import register
    from assay.token_rewards import TokenRewards

    register(TokenRewards(task="math-steps", tokenizer={"name": "Qwen/Qwen3-0.6B"}), Shaping(weight=0.5))

Every environment whose algorithm is ``grpo`` then trains with ``A[i][t] = A_out[i] + weight * S[i][t]``
(``assay.dense``). prime-rl gives advantages token by token from end to end, so this is all there is to it.

In a task of verifiers, a number per rollout::

    class Arithmetic(vf.Task):
        math_steps = task_reward("math_steps", TokenRewards(task="math-steps", ...), weight=0.5)

``register`` imports prime-rl, ``task_reward`` verifiers; whichever is not used need not be installed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from .dense import Shaping, shape
from .errors import RolloutFailed
from .policy import FailurePolicy
from .rollouts import Prompt
from .token_rewards import Judged, TokenRewards, failed, messages
from .wire import Failed

Fields = Callable[[Any], Mapping[str, Any]]
_INFO: Final = "assay"


def register(
    rewards: TokenRewards,
    shaping: Shaping,
    *,
    algorithm: str = "grpo",
    tokenizer: Any = None,
    fields: Fields = lambda trace: {},
    policy: FailurePolicy | None = None,
) -> None:
    """Make prime-rl's ``algorithm`` dense: one with an advantage a rollout, such as ``grpo``, ``max_rl``, ``rae``.

    ``tokenizer`` is the policy's, where ``rewards`` does not name one that the service is to load. ``fields`` gives the
    fields of a trace's rollout besides, such as ``{"reference": trace.task.data.answer}``. ``policy``: what becomes of
    rollouts that could not be judged (by default they are masked out), and how long a group waits for them.
    """
    from prime_rl.orchestrator import algo

    known = algo.ALGORITHM_CLASSES[algorithm]
    base = getattr(known, "plain", known)  # registering again replaces
    if base.action_loss_type != "rl":
        raise ValueError(f"{algorithm} trains by {base.action_loss_type}: it has no advantages to shape")
    judge = TraceJudge(rewards, tokenizer, fields, policy or FailurePolicy())
    algo.ALGORITHM_CLASSES[algorithm] = _dense(base, judge, shaping)


def task_reward(
    name: str,
    rewards: TokenRewards,
    *,
    weight: float = 1.0,
    aggregate: Callable[[Sequence[float]], float] = sum,
    tokenizer: Any = None,
    fields: Fields = lambda trace: {},
    policy: FailurePolicy | None = None,
) -> Callable[..., Awaitable[float | Mapping[str, float]]]:
    """A reward of a ``vf.Task``, to be assigned in its class: the ``aggregate`` of a rollout's token rewards.

    A rollout that could not be judged ends with an error on its trace, and nobody trains on it. With policy ``scalar``
    this reward is not recorded and the task's others stand alone. The traces need token ids, as prime-rl's have.
    """
    import verifiers.v1 as vf

    judge = TraceJudge(rewards, tokenizer, fields, policy or FailurePolicy())

    async def reward(self: Any, trace: Any) -> float | Mapping[str, float]:
        judged = await judge(trace)
        judge.policy.settle([judged])
        if not isinstance(judged, Failed):
            return float(aggregate(judged))
        if judge.policy.on_failure == "scalar":
            return {}
        raise RolloutFailed(judged.id, judged.kind, judged.detail, judged)

    reward.__name__ = name
    marked: Callable[..., Awaitable[float | Mapping[str, float]]] = vf.reward(weight=weight)(reward)
    return marked


class TraceJudge:
    """Token rewards of a trace: of what the policy sampled, node by node in the trace's order."""

    def __init__(self, rewards: TokenRewards, tokenizer: Any, fields: Fields, policy: FailurePolicy) -> None:
        if rewards.tokenizer is None and tokenizer is None:
            raise ValueError(
                "say which tokenizer the policy has: TokenRewards(tokenizer=...), or tokenizer=..."
            )
        self.policy = policy
        self._rewards, self._tokenizer, self._fields = rewards, tokenizer, fields

    async def __call__(self, trace: Any) -> Judged:
        """One reward per sampled token. Each turn is a rollout of its own, with what led to it as its prompt."""
        fields = dict(self._fields(trace))
        turns = list(_turns(trace))
        if not turns:
            return failed("empty", "the trace has no sampled tokens", trace.id)
        judged = await asyncio.gather(
            *(
                self._rewards.judge(
                    prompt, ids, tokenizer=self._tokenizer, policy=self.policy, id=trace.id, **fields
                )
                for prompt, ids in turns
            )
        )
        sampled: list[float] = []
        for one in judged:
            if isinstance(one, Failed):
                return one
            sampled += one
        return tuple(sampled)


def _dense(base: type[Any], judge: TraceJudge, shaping: Shaping) -> type[Any]:
    """``base`` with an advantage for each token."""
    from prime_rl.orchestrator.algo.base import iter_trainable_traces
    from prime_rl.orchestrator.algo.routing import assign_advantages

    class DenseAlgorithm(base):  # type: ignore[misc]
        """Asks for token rewards as each episode ends, and shapes by them when its group is complete."""

        plain = base

        async def score_episode(self, episode: Any) -> None:
            """What the service says is kept in each trace's ``info``, and written wherever traces are."""
            await super().score_episode(episode)
            traces = [trace for _, trace in iter_trainable_traces([episode])]
            for trace, judged in zip(traces, await asyncio.gather(*map(judge, traces)), strict=True):
                trace.info[_INFO] = judged.raw if isinstance(judged, Failed) else list(judged)

        async def score_group(self, episodes: list[Any]) -> None:
            """The base's advantages over the rollouts that were judged, and the shaping on top."""
            traces = [trace for _, trace in iter_trainable_traces(episodes)]
            settled = judge.policy.settle([_remembered(trace) for trace in traces], step=_step(episodes))
            left_out = [
                trace
                for trace, tokens in zip(traces, settled, strict=True)
                if tokens is None and judge.policy.on_failure == "skip"
            ]
            for trace in left_out:
                trace.agent.trainable = False
            try:
                if len(left_out) < len(traces):
                    await super().score_group(episodes)
            finally:
                for trace in left_out:
                    trace.agent.trainable = True
            rows = [tokens if isinstance(tokens, tuple) else None for tokens in settled]
            masks = [[1] * len(row or ()) for row in rows]
            for trace, row in zip(traces, shape(rows, masks, [0] * len(rows), shaping), strict=True):
                if any(trace is one for one in left_out):
                    assign_advantages(trace, 0.0)
                elif row:
                    whole = [one for node in trace.nodes if any(node.mask) for one in node.advantages]
                    assign_advantages(trace, [a + s for a, s in zip(whole, row, strict=True)])

    return DenseAlgorithm


def _turns(trace: Any) -> Iterator[tuple[Prompt, list[int]]]:
    """What was sampled: the messages before it, and its ids."""
    for node in trace.nodes:
        ids = [token for token, sampled in zip(node.token_ids, node.mask, strict=True) if sampled]
        if ids:
            before = []
            while node.parent is not None:
                node = trace.nodes[node.parent]
                before.append(node.message.model_dump(include={"role", "content"}))
            yield messages(before[::-1]), ids


def _remembered(trace: Any) -> Judged:
    """What ``score_episode`` was told."""
    told = trace.info.get(_INFO)
    if isinstance(told, list):
        return tuple(told)
    failure = (told or {}).get("failure", {"kind": "internal", "detail": "the episode was never judged"})
    return failed(failure["kind"], failure["detail"], trace.id)


def _step(episodes: Sequence[Any]) -> int | None:
    """The training step that a group belongs to."""
    step: int | None = getattr(getattr(episodes[0].run, "work", None), "step", None) if episodes else None
    return step

"""Traces of verifiers, as prime-rl's environments hand them over: ids, masks and messages."""

import random
from typing import Any

import verifiers.v1 as vf

PRIVATE = {"name": "policy", "revision": "0" * 40}


def trace(seed: int, outcome: float | None = None) -> Any:
    """Two turns with a tool's answer between; each turn opens with scaffold that nobody sampled."""
    chance = random.Random(seed)
    nodes: list[Any] = []

    def add(message: Any, scaffold: int, sampled: int) -> None:
        count = scaffold + sampled
        nodes.append(
            vf.MessageNode(
                message=message,
                token_ids=[chance.randrange(1000) for _ in range(count)],
                mask=[False] * scaffold + [True] * sampled,
                logprobs=[-0.5] * sampled,
                sampled=sampled > 0,
                parent=len(nodes) - 1 if nodes else None,
            )
        )

    add(vf.UserMessage(content="2 + 2 = ?"), 3, 0)
    add(vf.AssistantMessage(content="look"), 2, chance.randrange(2, 6))
    add(vf.ToolMessage(content="4", tool_call_id="x"), 4, 0)
    add(vf.AssistantMessage(content="4"), 1, chance.randrange(2, 6))
    return vf.Trace[vf.TaskData](
        id=str(seed),
        task=vf.TraceTask(type="Task", data=vf.TaskData(idx=0, prompt=None)),
        agent=vf.AgentInfo(config=vf.AgentConfig()),
        nodes=nodes,
        rewards={} if outcome is None else {"right": vf.Reward(score=outcome)},
        ok=True,
    )


def sampled(one: Any) -> list[list[int]]:
    """The ids of each turn that the policy sampled."""
    turns = [
        [token for token, own in zip(node.token_ids, node.mask, strict=True) if own] for node in one.nodes
    ]
    return [turn for turn in turns if turn]

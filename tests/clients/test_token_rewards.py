"""What adapters ask for single rollouts with, against a server on a real port."""

import asyncio
import time
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from assay.policy import FailurePolicy
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards, messages
from assay.wire import Failed

POLICY = FailurePolicy(timeout_s=10)


def words() -> Tokenizer:
    """A token a word."""
    own = Tokenizer(models.WordLevel({"so": 0, "it": 1, "is": 2, "?": 3}, unk_token="?"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    own.decoder = decoders.Fuse()
    return own


async def test_without_a_tokenizer_of_the_services_the_places_of_tokens_are_sent(server: FakeServer) -> None:
    """One range of characters per id, and a reward for each in order."""
    server.reward = lambda rollout, tokens: [float(place) for place in range(tokens)]
    rewards = TokenRewards(task="math-steps", url=server.url)
    judged = await rewards.judge("why", [0, 1, 2], tokenizer=words(), policy=POLICY, id="r1", truncated=True)
    assert judged == (0.0, 1.0, 2.0)
    [rollout] = server.rollouts
    assert rollout["completion"] == {
        "text": "soitis",
        "offsets": [[0, 2], [2, 4], [4, 6]],
        "truncated": True,
    }
    assert rollout["id"] == "r1"


async def test_ids_are_sent_where_the_service_knows_the_tokenizer(server: FakeServer) -> None:
    """And no text is worked out here."""
    named = {"name": "policy", "revision": "abc"}
    rewards = TokenRewards(route="segment", tokenizer=named, url=server.url, options={"c_ent": 2.0})
    judged = await rewards.judge("why", [7, 8], tokenizer=None, policy=POLICY, reference="because")
    assert judged == (0.25, 0.25)
    [received] = server.received
    assert received.path == "/score/segment"
    assert received.body["tokenizer"] == named
    assert received.body["options"] == {"c_ent": 2.0}
    assert received.body["rollouts"][0]["completion"] == {"token_ids": [7, 8]}
    assert received.body["rollouts"][0]["reference"] == "because"


async def test_calls_under_way_at_once_travel_together(server: FakeServer) -> None:
    """A hundred samples of a trainer, a few requests; each has its own rewards."""
    server.reward = lambda rollout, tokens: [float(rollout["id"])] * tokens
    rewards = TokenRewards(task="math-steps", url=server.url)
    judged = await asyncio.gather(
        *[rewards.judge("why", [0, 1], tokenizer=words(), policy=POLICY, id=str(one)) for one in range(100)]
    )
    assert judged == [(float(one),) * 2 for one in range(100)]
    assert len(server.received) < 20


async def test_a_tokenizer_that_cannot_be_followed_is_a_mistake_in_the_set_up(server: FakeServer) -> None:
    """It never passes, so that a run on nothing but such failures ends."""
    judged = await TokenRewards(task="math-steps", url=server.url).judge(
        "why", [0, 99], tokenizer=words(), policy=POLICY
    )
    assert isinstance(judged, Failed)
    assert judged.kind == "invalid"
    assert not server.received


@pytest.mark.parametrize("trouble", ["stalls", "refuses", "drops", "is away"])
async def test_whatever_the_service_does_is_a_failure_within_the_deadline(
    server: FakeServer, trouble: str
) -> None:
    """Nothing raises, and nobody waits."""
    if trouble == "stalls":
        server.delay_s = 60.0
    elif trouble == "refuses":
        server.refuse(422, "invalid", times=100)
    elif trouble == "drops":
        server.drop(times=100)
    else:
        server.stop()
    began = time.monotonic()
    judged = await TokenRewards(task="math-steps", url=server.url).judge(
        "why", [0, 1], tokenizer=words(), policy=FailurePolicy(timeout_s=0.5)
    )
    assert isinstance(judged, Failed)
    assert time.monotonic() - began < 3.0


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("why", "why"),
        ([{"role": "user", "content": "why"}], [{"role": "user", "content": "why"}]),
        (
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "why"}], "name": "x"}],
            [{"role": "user", "content": "why"}],
        ),
        ([{"role": "assistant", "content": None}], [{"role": "assistant", "content": ""}]),
    ],
)
def test_prompts_are_sent_as_text(prompt: Any, sent: Any) -> None:
    """Images stay behind."""
    assert messages(prompt) == sent


def test_rewards_of_whole_completions_are_refused() -> None:
    """There is nothing for a token in them."""
    with pytest.raises(ValueError, match="no reward per token"):
        TokenRewards(route="sequence")  # type: ignore[arg-type]

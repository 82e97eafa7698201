"""ms-swift trains for real: a reward of a token reaches that token in the loss, and failures reach none."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from swift.rewards import orms
from swift.rewards.orm import ORM

from assay import FailurePolicy, RolloutFailed
from assay.dense import Shaping, outcome_advantages, shape
from assay.swift import register
from assay.testing import FakeServer
from assay.token_rewards import TokenRewards

from ..planting import plant, planted

PRIVATE = {"name": "policy", "revision": "0" * 40}
ALONE = Shaping(baseline="none")
Train = Callable[..., Any]


class Outcome(ORM):  # type: ignore[misc]
    """An outcome that only the ids decide."""

    @staticmethod
    def of(ids: Sequence[int]) -> float:
        """Between 0 and 1, different for different ids."""
        return random.Random(sum(place * one for place, one in enumerate(ids))).random()

    def __call__(self, completions: Any, response_token_ids: Any, **_: Any) -> list[float]:
        """One number per completion."""
        return [self.of(ids) for ids in response_token_ids]


orms["ids_outcome"] = Outcome


def rows_of(seen: Any) -> list[tuple[list[int], list[float], list[bool]]]:
    """Every row that reached the loss: its own ids, its advantages there, and its whole mask."""
    return [
        (
            [int(one) for one in batch["ids"][row][mask]],
            batch["advantages"][row][mask].tolist(),
            mask.tolist(),
        )
        for batch in seen.batches
        for row, mask in enumerate(batch["mask"])
    ]


def moved(seen: Any) -> float:
    """How far the parameters went."""
    return sum(
        float((one.detach() - seen.before[name]).abs().sum())
        for name, one in seen.trainer.model.named_parameters()
    )


def test_the_reward_of_a_token_is_the_advantage_of_that_token_in_the_loss(
    train: Train, service: FakeServer
) -> None:
    """One planted reward a completion, prompts of different lengths, two mini-batches a step; nothing else pays."""
    service.reward = plant
    register("planted", TokenRewards(task="math-steps", url=service.url, tokenizer=PRIVATE), shaping=ALONE)
    seen = train("planted")
    rows = rows_of(seen)
    assert len(rows) == 32
    assert len({tuple(mask) for _, _, mask in rows}) > 1
    for ids, advantages, _ in rows:
        assert advantages == planted(ids)
    assert moved(seen) > 0
    assert [one["planted/failed"] for one in seen.log if "planted/failed" in one] == [0.0, 0.0]


def test_outcome_and_shaping_add_up_and_failed_rollouts_are_left_out(
    train: Train, service: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each four the third fails: its tokens are masked, and the other three are normalized as a group of three."""
    service.reward = plant
    for failing in ("2", "6", "10", "14"):
        service.fail(failing)
    shaping = Shaping(weight=0.5, baseline="group")
    register("planted", TokenRewards(task="math-steps", url=service.url, tokenizer=PRIVATE), shaping=shaping)
    caplog.set_level("WARNING", logger="assay")
    seen = train("ids_outcome", "planted", loss_type="grpo")
    steps = [rows_of(seen)[start : start + 16] for start in (0, 16)]
    for rows in steps:
        for group in (rows[start : start + 4] for start in (0, 4, 8, 12)):
            ids = [one for one, _, _ in group]
            assert [bool(one) for one in ids] == [True, True, False, True]
            assert not any(group[2][2])
            whole = outcome_advantages([Outcome.of(one) if one else None for one in ids], "gggg")
            shaped = shape(
                [planted(one) if one else None for one in ids],
                [[1] * len(one) for one in ids],
                "gggg",
                shaping,
            )
            for (_, advantages, _), outcome, tokens in zip(group, whole, shaped, strict=True):
                assert advantages == pytest.approx([outcome + token for token in tokens], abs=1e-4)
    assert [one["planted/failed"] for one in seen.log if "planted/failed" in one] == [0.25, 0.25]
    told = [record.getMessage() for record in caplog.records if "not judged" in record.getMessage()]
    assert [line.split(" were")[0] for line in told] == [
        "4 of 16 rollouts of step 0",
        "4 of 16 rollouts of step 1",
    ]


def test_it_trains_against_the_live_service(train: Train, embedded_url: str) -> None:
    """The embedded critic judges texts and offsets: the service never hears of this tokenizer."""
    register(
        "critic",
        TokenRewards(task="math-steps", url=embedded_url),
        shaping=Shaping(weight=0.5, gamma=1.0),
        policy=FailurePolicy("scalar"),
    )
    seen = train("ids_outcome", "critic")
    failed = [one["critic/failed"] for one in seen.log if "critic/failed" in one]
    assert len(failed) == 2
    assert max(failed) < 1
    assert moved(seen) > 0
    assert any(len(set(advantages)) > 1 for _, advantages, _ in rows_of(seen))


def test_a_service_that_is_away_masks_all_and_ends_nothing(train: Train) -> None:
    """Nothing is learned, the step goes on, and the parameters stay."""
    away = TokenRewards(task="math-steps", url="http://127.0.0.1:9", tokenizer=PRIVATE)
    register("away", away, shaping=ALONE, policy=FailurePolicy("skip", timeout_s=2))
    seen = train("ids_outcome", "away", max_steps=1, weight_decay=0)
    assert [one["away/failed"] for one in seen.log if "away/failed" in one] == [1.0]
    assert not any(any(mask) for _, _, mask in rows_of(seen))
    assert moved(seen) == 0


def test_scalar_keeps_the_outcome_and_raise_ends_the_training(train: Train) -> None:
    """The declared fallbacks."""
    away = TokenRewards(task="math-steps", url="http://127.0.0.1:9", tokenizer=PRIVATE)
    register("away", away, shaping=ALONE, policy=FailurePolicy("scalar", timeout_s=2))
    rows = rows_of(train("ids_outcome", "away", max_steps=1))[:4]
    whole = outcome_advantages([Outcome.of(ids) for ids, _, _ in rows], "gggg")
    for (ids, advantages, _), outcome in zip(rows, whole, strict=True):
        assert advantages == pytest.approx([outcome] * len(ids), abs=1e-4)
    register("away", away, shaping=ALONE, policy=FailurePolicy("raise", timeout_s=2))
    with pytest.raises(RolloutFailed, match="unreachable"):
        train("ids_outcome", "away", max_steps=1)


@pytest.mark.parametrize("flags", [{"importance_sampling_level": "sequence"}, {"loss_type": "real"}])
def test_losses_of_whole_sequences_are_refused(train: Train, flags: dict[str, str]) -> None:
    """They would average what was asked for token by token."""
    register("planted", TokenRewards(task="math-steps", tokenizer=PRIVATE), shaping=ALONE)
    with pytest.raises(ValueError, match="by token"):
        train("planted", **flags)


def test_without_shaping_it_is_an_ordinary_reward(train: Train, service: FakeServer) -> None:
    """The sum of a completion's token rewards is its outcome, and None leaves it out of its group."""
    service.reward = lambda rollout, tokens: (
        [float(sum(rollout["completion"]["token_ids"]) % 97)] + [0.0] * (tokens - 1)
    )
    service.fail("1")
    register("summed", TokenRewards(task="math-steps", url=service.url, tokenizer=PRIVATE))
    rows = rows_of(train("summed", max_steps=1))[:4]
    assert not rows[1][0]
    whole = outcome_advantages([float(sum(ids) % 97) if ids else None for ids, _, _ in rows], "gggg")
    for (ids, advantages, _), outcome in zip(rows, whole, strict=True):
        assert advantages == pytest.approx([outcome] * len(ids), abs=1e-3)
    assert torch.isfinite(torch.tensor([one for _, advantages, _ in rows for one in advantages])).all()

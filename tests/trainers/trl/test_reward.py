"""The reward function of TRL against the service with the embedded models."""

import pickle
from typing import Any

import pytest
from trl import GRPOTrainer

import assay
import assay.trl
from assay.trl import AssayReward

TEXTS = ["4 * 3 = 12\nA: 12", "4 * 3 = 13\nA: 13", "naïve 👍🏽 4 * 3 = 12"]


async def judged(reward: AssayReward, ids: list[list[int]], **more: Any) -> list[Any]:
    """What each token is worth."""
    return await reward.judge(["Bo has 4 boxes of 3 pens."] * len(ids), ids, more)


async def test_ids_and_local_offsets_say_the_same(
    embedded_url: str, tokenizer: Any, named_tokenizer: Any
) -> None:
    """One reward per id, the end marker's included, whether the service knows the tokenizer or not."""
    ids = [[*tokenizer(text).input_ids, 0] for text in TEXTS]
    asked = {"task": "math-steps", "deadline_s": 60}
    one = await judged(AssayReward(embedded_url, tokenizer=named_tokenizer, **asked), ids)
    other = await judged(AssayReward(embedded_url, tokenizer=tokenizer, **asked), ids)
    assert one == other
    assert list(map(len, other)) == list(map(len, ids))
    assert not any(one[0])
    assert any(one[1])


@pytest.mark.parametrize(
    ("aggregate", "expected"), [("sum", -1.0), ("mean", -0.25), ("last", 0.0), ("min", -1)]
)
def test_scalars(tokenizer: Any, aggregate: Any, expected: float) -> None:
    """One number of the tokens' rewards; None of a failure and of no tokens, never 0.0."""
    reward = AssayReward(task="math-steps", tokenizer=tokenizer, aggregate=aggregate)
    failed = assay.Failed("x", "engine", "", {})
    assert reward.scalars([(0.0, -1.0, 0.0, 0.0), failed, ()]) == [expected, None, None]


async def test_the_whole_completion(embedded_url: str, tokenizer: Any) -> None:
    """Route ``sequence`` gives its one reward; a reference comes from a column of the data set."""
    ids = [tokenizer(text).input_ids for text in TEXTS[:2]]
    reward = AssayReward(embedded_url, route="sequence", tokenizer=tokenizer, deadline_s=60)
    right, wrong = reward.scalars(await judged(reward, ids))
    assert right is not None
    assert wrong is not None
    assert right > wrong
    grm = AssayReward(
        embedded_url,
        method="grm",
        options={"tokenizer_policy": "transfer"},
        columns={"reference": "solution"},
        tokenizer=tokenizer,
        deadline_s=60,
    )
    right, wrong = grm.scalars(await judged(grm, ids, solution=[TEXTS[0]] * 2))
    assert right is not None
    assert wrong is not None
    assert right > wrong


def test_it_trains_grpo(
    embedded_url: str, tokenizer: Any, policy: Any, problems: Any, arguments: Any
) -> None:
    """TRL's own trainer, with a scalar from the service: the policy moves and the metrics are there."""
    reward = AssayReward(embedded_url, route="segment", tokenizer=tokenizer, deadline_s=60, aggregate="mean")
    trainer = GRPOTrainer(policy, reward, arguments(), train_dataset=problems, processing_class=tokenizer)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["assay/segment/failed"] == 0.0
    assert first["rewards/assay/segment/std"] > 0
    assert first["grad_norm"] > 0


def test_a_reward_travels_to_another_process(tokenizer: Any) -> None:
    """TRL's asynchronous trainer pickles its reward functions."""
    again = pickle.loads(pickle.dumps(AssayReward(task="math-steps", tokenizer=tokenizer)))  # noqa: S301
    assert again.how.task == "math-steps"


def test_another_trl_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too old, too new, and missing."""
    for found in ("1.15.0", "2.0.0", "0.29"):
        monkeypatch.setattr(assay.trl, "version", lambda name, found=found: found)
        with pytest.raises(ImportError, match=r'pip install "trl>=1\.16,<2"'):
            assay.trl._require_trl()

"""Dense advantages: worked numbers, and what holds whatever the numbers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.dense import EPSILON, Shaping, dense_advantages, outcome_advantages, shape

finite = st.floats(-8, 8, allow_nan=False, width=32)
shapings = st.builds(
    Shaping,
    weight=st.sampled_from([0.25, 1.0, 2.0]),
    baseline=st.sampled_from(["none", "group", "position"]),
    gamma=st.sampled_from([None, 0.0, 0.5, 1.0]),
)


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Any]:
    """A few groups of a few rollouts of a few tokens; some have failed."""
    count = draw(st.integers(1, 8))
    masks = [draw(st.lists(st.sampled_from([0, 1]), max_size=5)) for _ in range(count)]
    return {
        "outcomes": [draw(st.none() | finite) for _ in range(count)],
        "token_rewards": [
            draw(st.none() | st.lists(finite, min_size=len(mask), max_size=len(mask))) for mask in masks
        ],
        "masks": masks,
        "groups": [draw(st.integers(0, 2)) for _ in range(count)],
    }


def test_outcomes_of_a_group_become_their_z_scores() -> None:
    """1, 0, 0, 1 of one prompt: mean 0.5, sample deviation 0.57735; the other prompt's 2 and 4 have sqrt 2."""
    advantages = outcome_advantages([1, 0, 2, 0, 1, 4], ["p", "p", "q", "p", "p", "q"])
    high, low = 0.5 / (3**-0.5 + EPSILON), 1 / (2**0.5 + EPSILON)
    assert advantages == pytest.approx([high, -high, -low, -high, high, low])
    assert outcome_advantages([1, 0, 0], "ppp", scale="mean") == pytest.approx([2 / 3, -1 / 3, -1 / 3])
    assert outcome_advantages([1, 0, 0], "ppp", scale="none") == [1, 0, 0]


def test_who_is_alone_has_no_outcome_advantage() -> None:
    """A group of one, and the last one left of a group."""
    assert outcome_advantages([3.0, None, 1.0], "pqq") == [0.0, 0.0, 0.0]
    assert outcome_advantages([None, None], "pp") == [0.0, 0.0]


@pytest.mark.parametrize(
    ("shaping", "expected"),
    [
        (Shaping(baseline="none"), [[0.0, -0.5, 0.25], [0.5, 0.0, 1.0]]),
        (Shaping(baseline="group"), [[-0.25, -0.75, 0.0], [0.25, 0.0, 0.75]]),
        (Shaping(baseline="position"), [[-0.25, 0.0, -0.375], [0.25, 0.0, 0.375]]),
        (Shaping(baseline="none", weight=2), [[0.0, -1.0, 0.5], [1.0, 0.0, 2.0]]),
        (Shaping(baseline="none", gamma=1.0), [[-0.25, -0.25, 0.25], [1.5, 0.0, 1.0]]),
        (Shaping(baseline="none", gamma=0.5), [[-0.1875, -0.375, 0.25], [1.0, 0.0, 1.0]]),
        (Shaping(baseline="group", gamma=1.0), [[-1.0, -0.75, 0.0], [1.0, 0.0, 0.75]]),
    ],
)
def test_tokens_are_shaped_as_the_formula_says(shaping: Shaping, expected: list[list[float]]) -> None:
    """Five own tokens with a sum of 1.25; the 9.0 in the middle of the second is a tool's and counts nowhere."""
    rewards = [[0.0, -0.5, 0.25], [0.5, 9.0, 1.0]]
    assert shape(rewards, [[1, 1, 1], [1, 0, 1]], "pp", shaping) == expected


def test_advantages_are_outcome_and_shaping() -> None:
    """Outcomes 1 and 0: plus and minus sqrt 0.5 on every own token, and on it what the token is worth."""
    a = 0.5 / (0.5**0.5 + EPSILON)
    rows = dense_advantages(
        [1, 0],
        [[0.0, -0.5], [0.5, 9.0]],
        [[1, 1], [1, 0]],
        "pp",
        shaping=Shaping(baseline="none", weight=0.5),
    )
    assert rows == [pytest.approx([a, a - 0.25]), pytest.approx([-a + 0.25, 0.0])]


def test_rewards_and_mask_must_be_of_one_length() -> None:
    """A reward is never moved to another token."""
    with pytest.raises(ValueError, match="2 token rewards but 3 mask values"):
        shape([[0.0, 1.0]], [[1, 1, 1]], "p", Shaping())
    with pytest.raises(ValueError, match="baseline"):
        Shaping(baseline="batch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gamma"):
        Shaping(gamma=1.5)


@given(batches(), st.sampled_from(["std", "mean", "none"]), shapings)
def test_weight_zero_is_grpo(batch: dict[str, Any], scale: Any, shaping: Shaping) -> None:
    """Exactly: every own token has its completion's outcome advantage, the others have 0."""
    silent = Shaping(weight=0.0, baseline=shaping.baseline, gamma=shaping.gamma)
    judged = [
        None if rewards is None else outcome
        for outcome, rewards in zip(batch["outcomes"], batch["token_rewards"], strict=True)
    ]
    whole = outcome_advantages(judged, batch["groups"], scale=scale)
    rows = dense_advantages(**batch, shaping=silent, scale=scale)
    assert rows == [[a * own for own in mask] for a, mask in zip(whole, batch["masks"], strict=True)]


@given(batches(), st.sampled_from(["std", "mean", "none"]), shapings)
def test_a_failed_rollout_changes_nobody(batch: dict[str, Any], scale: Any, shaping: Shaping) -> None:
    """The others have the advantages that they have without it; it has zeros."""
    rows = dense_advantages(**batch, shaping=shaping, scale=scale)
    kept = [
        index
        for index, pair in enumerate(zip(batch["outcomes"], batch["token_rewards"], strict=True))
        if None not in pair
    ]
    alone = {name: [values[index] for index in kept] for name, values in batch.items()}
    assert [rows[index] for index in kept] == dense_advantages(**alone, shaping=shaping, scale=scale)
    assert all(not any(row) for index, row in enumerate(rows) if index not in kept)


@given(batches(), st.sampled_from([-3.0, 0.5, 4.0]), st.sampled_from(["group", "position"]))
def test_what_is_added_to_all_changes_nothing(batch: dict[str, Any], shift: float, baseline: Any) -> None:
    """The same number on every outcome and every token of all rollouts."""
    shifted = {
        **batch,
        "outcomes": [None if one is None else one + shift for one in batch["outcomes"]],
        "token_rewards": [
            None if row is None else [token + shift for token in row] for row in batch["token_rewards"]
        ],
    }
    how: Any = {"shaping": Shaping(baseline=baseline), "scale": "mean"}
    for one, other in zip(dense_advantages(**batch, **how), dense_advantages(**shifted, **how), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


@given(batches(), shapings, st.randoms(use_true_random=False))
def test_order_does_not_matter(batch: dict[str, Any], shaping: Shaping, random: Any) -> None:
    """Rollouts of a group may come from anywhere: shuffled, the same rollout has the same row."""
    order = list(range(len(batch["groups"])))
    random.shuffle(order)
    shuffled = {name: [values[index] for index in order] for name, values in batch.items()}
    rows = dense_advantages(**batch, shaping=shaping)
    for place, row in enumerate(dense_advantages(**shuffled, shaping=shaping)):
        assert row == pytest.approx(rows[order[place]], abs=1e-5, rel=1e-4)

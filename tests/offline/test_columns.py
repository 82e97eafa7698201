"""Rows of the data sets that are around, as rollouts on the wire."""

from typing import Any

import pytest

from assayd.offline.columns import Columns, Unreadable
from assayd.offline.stopping import Stopped

ASKED = [{"role": "user", "content": "How many?"}]
SAID = {"role": "assistant", "content": "Two."}


@pytest.mark.parametrize(
    ("row", "named", "rollout"),
    [
        pytest.param(
            {"prompt": "How many?", "completion": "Two.", "reward": 0.5},
            [],
            {"prompt": "How many?", "completion": {"text": "Two."}, "extrinsic_reward": 0.5},
            id="texts",
        ),
        pytest.param(
            {"prompt": ASKED, "completion": [SAID], "solution": "2"},
            ["reference=solution"],
            {"prompt": ASKED, "completion": {"text": "Two."}, "reference": "2"},
            id="TRL, conversational",
        ),
        pytest.param(
            {"messages": [{**ASKED[0], "tool_calls": None}, SAID]},
            [],
            {"prompt": ASKED, "completion": {"text": "Two."}},
            id="one conversation",
        ),
        pytest.param(
            {
                "data_source": "gsm8k",
                "prompt": ASKED,
                "reward_model": {"style": "rule", "ground_truth": "2"},
                "extra_info": {"response": "Two."},
            },
            ["completion=extra_info.response"],
            {"prompt": ASKED, "completion": {"text": "Two."}, "reference": "2"},
            id="veRL",
        ),
        pytest.param(
            {"question": "How many?", "response": "Two.", "response_ids": [5, 6], "is_correct": False},
            [],
            {"prompt": "How many?", "completion": {"text": "Two.", "token_ids": [5, 6]}, "correct": False},
            id="with token ids",
        ),
        pytest.param(
            {"prompt": "", "completion": {"text": "Two.", "token_ids": None, "truncated": True}},
            [],
            {"prompt": "", "completion": {"text": "Two.", "truncated": True}},
            id="the wire's own, through Parquet",
        ),
        pytest.param(
            {"prompt": "p", "completion": "c", "reward": 1.0, "correct": None},
            ["extrinsic_reward="],
            {"prompt": "p", "completion": {"text": "c"}},
            id="a column that is left alone",
        ),
        pytest.param(
            {"prompt": "p", "completion": "c", "correct": True},
            ["extrinsic_reward=correct"],
            {"prompt": "p", "completion": {"text": "c"}, "extrinsic_reward": 1.0, "correct": True},
            id="right is 1",
        ),
        pytest.param(
            {"prompt": "p", "completion": "c", "a.b": 2.0, "a": {"b": 3.0}},
            ["value=a.b"],
            {"prompt": "p", "completion": {"text": "c"}, "value": 2.0},
            id="a column with a dot in its name",
        ),
    ],
)
def test_a_row_becomes_a_rollout(row: dict[str, Any], named: list[str], rollout: dict[str, Any]) -> None:
    """By the usual names, or those that were given."""
    assert Columns.parse(named).rollout(row) == rollout


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p"},
        {"prompt": "p", "completion": None},
        {"prompt": "p", "completion": 7},
        {"prompt": "p", "completion": ASKED},
        {"prompt": "p", "completion": [SAID, SAID]},
        {"prompt": [{"role": "user"}], "completion": "c"},
        {"messages": ASKED},
    ],
)
def test_a_row_that_does_not_say_what_to_judge_is_told(row: dict[str, Any]) -> None:
    """Nothing is made up in its place."""
    with pytest.raises(Unreadable):
        Columns().rollout(row)


@pytest.mark.parametrize("written", ["answer", "answers=x", "=x"])
def test_a_mapping_that_is_none_is_refused(written: str) -> None:
    """With the names there are."""
    with pytest.raises(Stopped, match="completion"):
        Columns.parse([written])

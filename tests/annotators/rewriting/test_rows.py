"""Training rows in the released shapes: eight fields, six fields, and what a rewriter learns from."""

from dataclasses import dataclass, replace

import pytest

from assayd.annotators.rewriting.rows import rlmec_row
from assayd.domain.ports import Deadline
from assayd.domain.provenance import ModelRef, Recipe, Usage
from assayd.domain.rewriting import Branch, EndMarker, ProbeAnnotation

RECIPE = Recipe("grm", "strict", ModelRef("m", "1"), {}, "test")
WRONG, FIXED = "48 / 2 = 24\n48 + 24 = 62\nA: 62", "48 / 2 = 24\n48 + 24 = 72\nA: 72"
REPLIES = ["The first error step is [1]", "48 + 24 = 72\nA: 72"]
RECORD = [
    "question",
    "solution",
    "prediction",
    "error_step",
    "error_token",
    "correct_step",
    "fix_pred",
    "is_correct",
]


@dataclass(frozen=True)
class Prober:
    """Pays every token alike, by the branch that it is told."""

    marker: bool = True
    recipe: Recipe = RECIPE

    async def annotate(self, rollout, *, deadline):
        """One number per token, and the end marker's beside them."""
        count = len(rollout.completion)
        values = tuple(0.01 * index for index in range(count))
        bare = self.marker and not rollout.completion.special
        branch = Branch.CORRECT if rollout.correct else Branch.INCORRECT
        end = EndMarker(-0.1, 0.2, -3.0) if bare else None
        return ProbeAnnotation(values, values, values, values, branch, 0, 0, False, end), Usage(1, 5, 0)


async def test_record(rewrite):
    """The eight fields, in the released order; -1 is for a prediction that is right."""
    wrong = (await rewrite(WRONG, REPLIES, rows=("record",))).annotation
    assert list(wrong.record) == RECORD
    assert wrong.record["fix_pred"] == FIXED
    assert (wrong.record["error_step"], wrong.record["is_correct"]) == (1, True)
    right = (await rewrite(FIXED, [], rows=("record",))).annotation
    assert (right.record["error_step"], right.record["fix_pred"]) == (-1, FIXED)


async def test_record_without_locate(rewrite):
    """A wrong prediction never has -1: where nobody named a step it is that of the first edit."""
    found = (await rewrite(WRONG, [FIXED], locate=False, rows=("record",))).annotation
    assert found.record["error_step"] == 1


async def test_unverified_record(rewrite):
    """A rewrite that misses the answer is recorded as such, and teaches nothing."""
    found = (await rewrite(WRONG, [REPLIES[0], "48 + 24 = 70\nA: 70"], rows=("record", "grm"))).annotation
    assert found.record["is_correct"] is False
    assert found.training_rows == ()


async def test_training_rows(rewrite):
    """A rewriter learns to locate and to rewrite, in the released prompt shapes."""
    locate, fix = (await rewrite(WRONG, REPLIES, rows=("grm",))).annotation.training_rows
    assert (locate["task"], locate["output"]) == ("locate", "The first error step is [1]")
    assert "[1] 48 + 24 = 62" in locate["input"]
    assert (fix["task"], fix["output"]) == ("rewrite", FIXED)
    assert fix["input"].endswith("Correct prediction:")
    assert "[1]" not in fix["input"]


@pytest.mark.parametrize("ended", [False, True])
async def test_rlmec_row(rewrite, tokens, ended):
    """Six fields; one reward per token of the output and one for its end marker, however it was sent."""
    trial = await rewrite(WRONG, REPLIES, rows=("rlmec",), parts={"prober": Prober()}, about={"ended": ended})
    row = trial.annotation.rlmec_row
    assert list(row) == ["input", "output", "regular", "reward", "ref_prob", "weight_regular"]
    assert (row["input"], row["output"], row["regular"]) == ("How many?", WRONG, FIXED)
    assert len(row["reward"]) == len(row["ref_prob"]) == len(tokens.cut(WRONG)) + 1
    assert len(row["weight_regular"]) == len(tokens.cut(FIXED)) + 1
    assert trial.usage.prompt_tokens > 5


async def test_rlmec_row_of_a_copy(rewrite, tokens):
    """A right prediction is its own target, at the weight of what was kept."""
    row = (await rewrite(FIXED, [], rows=("rlmec",), parts={"prober": Prober()})).annotation.rlmec_row
    assert row["regular"] == FIXED
    assert row["weight_regular"] == [0.5] * (len(tokens.cut(FIXED)) + 1)


async def test_rlmec_row_of_a_truncated_prediction(rewrite, tokens):
    """The end marker that a truncated prediction lacks is paid nothing."""
    prober = Prober(marker=False)
    trial = await rewrite(
        WRONG, REPLIES, rows=("rlmec",), parts={"prober": prober}, about={"truncated": True}
    )
    assert trial.annotation.rlmec_row["reward"][-1] == 0.0
    assert len(trial.annotation.rlmec_row["reward"]) == len(tokens.cut(WRONG)) + 1


async def test_no_row_without_verification(rewrite):
    """A rewrite that is not verified has no row: imitating it would teach an error."""
    replies = [REPLIES[0], "48 + 24 = 70\nA: 70"]
    trial = await rewrite(WRONG, replies, rows=("rlmec",), parts={"prober": Prober()})
    assert trial.annotation.rlmec_row is None


async def test_rewards_of_the_right_branch(rewrite):
    """A row pays a prediction as right only where it is known to be right."""
    trial = await rewrite(WRONG, REPLIES)
    probe, _ = await Prober().annotate(trial.rollout, deadline=Deadline.after(1))
    assert rlmec_row(trial.rollout, trial.annotation, probe) is not None
    paid = replace(probe, branch=Branch.CORRECT)
    assert rlmec_row(trial.rollout, trial.annotation, paid) is None
    assert rlmec_row(trial.rollout, trial.annotation, replace(probe, ref_logprobs=None)) is None

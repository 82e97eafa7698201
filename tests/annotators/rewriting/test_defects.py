"""The defects of the released code (papers.md 3.1): strict mode has none of them, compat mode those that it names."""

import pytest

from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.engines.fake import Generator

WRONG = "  48 / 2 = 24\n48 + 24 = 62\nA: 62"
LONG = "\n".join(f"step {number}" for number in range(12)) + "\nA: 5"


async def test_a_wrong_solution_is_never_called_right(rewrite):
    """Locate says correct, the answer says wrong: that is a failure, and no record of a right prediction."""
    with pytest.raises(AnnotationFailed) as caught:
        await rewrite(WRONG, ["correct", "A: 72"], rows=("record",))
    assert caught.value.kind is FailureKind.LOCATE_DISAGREES
    assert caught.value.critique == "correct"


async def test_the_callers_word_counts_too(rewrite):
    """The same where the caller says that the solution is wrong and its answer happens to be right."""
    with pytest.raises(AnnotationFailed) as caught:
        await rewrite("luck\nA: 72", ["correct"], about={"correct": False})
    assert caught.value.kind is FailureKind.LOCATE_DISAGREES


async def test_compat_rewrites_the_last_line(rewrite):
    """Compat: such a solution keeps all lines but the last, and its record has the error step -1."""
    found = (await rewrite(WRONG, ["correct", "A: 72"], mode="compat", rows=("record",))).annotation
    assert found.rewritten == "48 / 2 = 24\n48 + 24 = 62\nA: 72"
    assert (found.record["error_step"], found.record["is_correct"]) == (-1, True)
    assert found.error_step is None


async def test_incorrect_is_not_correct(rewrite):
    """The reply "incorrect at [1]" names step 1; the released code reads "correct"."""
    found = (await rewrite(WRONG, ["incorrect at [1]", "48 + 24 = 72\nA: 72"])).annotation
    assert found.error_step == 1


async def test_labels_of_several_digits(rewrite):
    """Step 12 is step 12; the released code goes on from step 1."""
    strict = await rewrite(LONG, ["The first error step is [12]", "A: 72"])
    compat = await rewrite(LONG, ["The first error step is [12]", "A: 72"], mode="compat")
    assert strict.annotation.rewritten == LONG.replace("A: 5", "A: 72")
    assert compat.annotation.rewritten == "step 0\nA: 72"


async def test_a_step_that_does_not_exist(rewrite):
    """A label beyond the last line is no verdict; the released code writes nothing."""
    for mode in ("strict", "compat"):
        with pytest.raises(AnnotationFailed) as caught:
            await rewrite(WRONG, ["[3]", "A: 72"], mode=mode)
        assert caught.value.kind is FailureKind.UNPARSEABLE


async def test_unknown_is_not_correct(rewrite):
    """A reply that cannot be read is a failure; the released code reads "correct"."""
    with pytest.raises(AnnotationFailed) as caught:
        await rewrite(WRONG, ["unknown", "A: 72"])
    assert caught.value.kind is FailureKind.UNPARSEABLE


async def test_error_in_the_first_line(rewrite):
    """A rewrite from the first line on has no line break before it; the released one has."""
    strict = await rewrite("A: 5", ["[0]", "A: 72"])
    compat = await rewrite("A: 5", ["[0]", "A: 72"], mode="compat")
    assert strict.annotation.rewritten == "A: 72"
    assert len(strict.engine.history[1][0]) == 1
    assert compat.annotation.rewritten == "\nA: 72"


async def test_indentation_and_blank_lines_stay(rewrite):
    """The kept lines are the prediction's, byte for byte; the released code strips each."""
    text = "  a = 1 \r\n\n\tb = 2\nA: 5"
    strict = await rewrite(text, ["[3]", "A: 72"])
    compat = await rewrite(text, ["[3]", "A: 72"], mode="compat")
    assert strict.annotation.rewritten == "  a = 1 \r\n\n\tb = 2\nA: 72"
    assert strict.annotation.prefix_preserved
    assert compat.annotation.rewritten == "a = 1\n\nb = 2\nA: 72"
    assert not compat.annotation.prefix_preserved


async def test_an_unchanged_wrong_solution_is_not_verified(rewrite):
    """A rewriter that leaves a wrong solution as it is has not mended it, whatever its answer looks like."""
    found = await rewrite("luck\nA: 72", ["[0]", "luck\nA: 72"], about={"correct": False}, rows=("grm",))
    assert (found.annotation.verified, found.annotation.edits) == (False, ())
    assert found.annotation.training_rows == ()


async def test_no_copy_of_a_wrong_solution(rewrite):
    """A copy row comes of a solution that is known to be right, and of no other."""
    right = await rewrite("A: 72", [], rows=("grm",))
    assert [row["task"] for row in right.annotation.training_rows] == ["copy"]
    wrong = await rewrite("A: 73", ["[0]", "A: 73"], rows=("grm", "record"))
    assert wrong.annotation.training_rows == ()
    assert wrong.annotation.record["error_step"] == 0


async def test_leading_colon(rewrite):
    """`The answer is: 72` is 72: the released checker finds that it is not."""
    found = await rewrite("So.\nThe answer is: 72", [], reference="The answer is 72")
    assert found.annotation.verified is True


def test_same_text_in_different_problems(rollout_of, rewriter_of):
    """Two problems with the same prediction are two rollouts: the key holds the question."""
    recipe = rewriter_of(Generator()).recipe
    first, second = (rollout_of("A: 72", question=question, reference="A: 72") for question in ("a?", "b?"))
    assert recipe.key(first) != recipe.key(second)


async def test_weights_of_deletions(rewrite):
    """A deletion marks no token of the rewrite; compat marks one that was kept (G2)."""
    replies = ["[0]", "so it is 72"]
    strict = await rewrite("so clearly it is 72", replies, about={"correct": False}, verify=None)
    compat = await rewrite(
        "so clearly it is 72", replies, about={"correct": False}, verify=None, mode="compat"
    )
    assert set(strict.annotation.weights[:1]) == {0.5}
    assert sum(weight == 1.0 for weight in compat.annotation.weights) >= 1

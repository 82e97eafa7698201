"""From a wrong solution to its smallest correction: locate, keep, mend, verify, choose."""

from dataclasses import replace

import pytest

from assayd.annotators.rewriting.edits import applied
from assayd.domain.failure import AnnotationFailed, FailureKind, Rejected
from assayd.domain.rewriting import Change
from assayd.domain.rollout import Role
from assayd.engines.fake import Generator

WRONG = "She sold 48 / 2 = 24.\n\n  48 + 24 = 62.\nA: 62"
FIXED = "She sold 48 / 2 = 24.\n\n  48 + 24 = 72.\nA: 72"
AT_2 = "The first error step is [2]"


async def failure_of(rewriting) -> AnnotationFailed:
    """The failure that a rewriting ends in."""
    with pytest.raises(AnnotationFailed) as caught:
        await rewriting
    return caught.value


async def test_locate_then_fix(rewrite):
    """The rewriter goes on right behind the kept lines, and only what it changed is an edit."""
    trial = await rewrite(WRONG, [AT_2, "  48 + 24 = 72.\nA: 72"])
    found = trial.annotation
    assert (found.rewritten, found.error_step, found.verified) == (FIXED, 2, True)
    assert found.prefix_preserved
    assert applied(WRONG, found.edits) == FIXED
    assert [edit.span.of(WRONG) for edit in found.edits] == ["6", "6"]
    assert found.edit_distance == 2
    assert found.edit_ratio == pytest.approx(2 / len(found.weights))
    assert trial.usage.calls == 2
    messages = trial.engine.history[1][0]
    assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT]
    assert messages[1].content == "She sold 48 / 2 = 24.\n\n"


async def test_weights(rewrite, tokens):
    """Weights are one per token of the rewrite and one for its end marker: 1 where it was changed, else a half."""
    found = (await rewrite(WRONG, [AT_2, "  48 + 24 = 72.\nA: 72"])).annotation
    cut = tokens.cut(FIXED)
    assert len(found.weights) == len(cut) + 1
    assert (found.token_ids, found.offsets) == (cut.token_ids, cut.token_spans)
    heavy = [
        span.of(FIXED) for span, weight in zip(cut.token_spans, found.weights, strict=False) if weight == 1
    ]
    assert heavy == ["7", "7"]
    assert set(found.weights) == {0.5, 1.0}


async def test_copy_if_correct(rewrite):
    """A right solution is its own rewrite, verified, and no model is asked."""
    found = await rewrite(FIXED, [])
    assert (found.annotation.rewritten, found.annotation.verified, found.usage.calls) == (FIXED, True, 0)
    assert found.annotation.edits == ()
    assert found.annotation.edit_distance == 0
    assert set(found.annotation.weights) == {0.5}


async def test_the_callers_word(rewrite):
    """Whether a solution is right is for the caller to say; the answers are compared where he does not."""
    found = await rewrite("twelve squared halved", [], about={"correct": True})
    assert (found.annotation.rewritten, found.annotation.verified) == ("twelve squared halved", False)
    assert found.annotation.correct is True


async def test_nobody_knows(rewrite):
    """Where the reference states no answer, nothing is verified, and a sound solution stays as it is."""
    found = await rewrite("a\nb", ["correct"], reference="two lines\nand no answer")
    assert (found.annotation.rewritten, found.annotation.verified, found.annotation.correct) == (
        "a\nb",
        None,
        None,
    )


async def test_without_locate(rewrite):
    """Without the first question the whole solution is written anew, and nothing is prefilled."""
    trial = await rewrite(WRONG, [FIXED], locate=False)
    assert trial.annotation.rewritten == FIXED
    assert trial.annotation.error_step is None
    assert len(trial.engine.history[0][0]) == 1


async def test_without_prefill(rewrite):
    """Without the prefill the model may change what was right, and that is reported."""
    kept = await rewrite(WRONG, [AT_2, FIXED], prefill_before_error=False)
    lost = await rewrite(WRONG, [AT_2, FIXED.replace("She", "He")], prefill_before_error=False)
    assert kept.annotation.prefix_preserved
    assert not lost.annotation.prefix_preserved
    assert len(kept.engine.history[1][0]) == 1


async def test_options_of_steps(rewrite):
    """Steps may be split elsewhere and labelled from 1."""
    trial = await rewrite(
        "a = 1. b = 2. A: 5", ["The first error step is [3]", "A: 72"], step_split=". ", label_base=1
    )
    assert trial.annotation.rewritten == "a = 1. b = 2. A: 72"
    assert trial.annotation.error_step == 2
    assert "[3] A: 5" in trial.engine.history[0][0][0].content


async def test_best_of_n(rewrite):
    """Of several rewrites the smallest that is verified is taken, however small the others are."""
    replies = [AT_2, "  48 + 24 = 63.\nA: 63", "Long way round: it is 72.\nA: 72", "  48 + 24 = 72.\nA: 72"]
    trial = await rewrite(WRONG, replies, n=3, temperature=1.0, seed=7)
    assert trial.annotation.rewritten == FIXED
    assert [sampling.seed for _, sampling in trial.engine.history] == [None, 7, 8, 9]
    assert trial.usage.calls == 4


async def test_max_edit_ratio(rewrite):
    """A rewrite that changes too much is refused, and named."""
    failure = await failure_of(rewrite(WRONG, [AT_2, "No line stays as it was.\nA: 72"], max_edit_ratio=0.1))
    assert failure.kind is FailureKind.UNPARSEABLE
    assert "max_edit_ratio" in failure.detail


async def test_truncated_rewrite(rewrite):
    """A rewrite that ran out of tokens is no rewrite."""
    failure = await failure_of(rewrite(WRONG, [AT_2, "  48 + 24 = 72.\nA: 72"], max_tokens=3))
    assert failure.kind is FailureKind.TRUNCATED_CRITIQUE


async def test_truncated_locate(rewrite):
    """A reply to locate that ran out of tokens before its label is told from one that says nothing."""
    failure = await failure_of(rewrite(WRONG, ["word " * 600]))
    assert failure.kind is FailureKind.TRUNCATED_CRITIQUE


async def test_engine_failures(rewrite):
    """What the engine raises ends the annotation, whichever question it was."""
    down = AnnotationFailed(FailureKind.ENGINE, "connection refused")
    assert (await failure_of(rewrite(WRONG, [down]))).kind is FailureKind.ENGINE
    assert (await failure_of(rewrite(WRONG, [AT_2, down]))).kind is FailureKind.ENGINE


@pytest.mark.parametrize(
    ("prediction", "reference", "kind"),
    [("", "A: 72", "empty"), (" \n", "A: 72", "empty"), ("A: 1", None, "invalid"), ("A: 1", " ", "invalid")],
)
async def test_nothing_to_go_by(rewrite, prediction, reference, kind):
    """Without text or without a reference there is nothing to correct, or nothing to correct it by."""
    assert (await failure_of(rewrite(prediction, [], reference=reference))).kind == kind


async def test_end_marker_of_the_policy(rewrite):
    """A completion that came with its end marker has the same edits as one that came without."""
    replies = [AT_2, "  48 + 24 = 72.\nA: 72"]
    bare, ended = await rewrite(WRONG, replies), await rewrite(WRONG, replies, about={"ended": True})
    assert bare.annotation.edits == ended.annotation.edits
    assert bare.annotation.operations == ended.annotation.operations
    assert bare.annotation.operations[-1].change is Change.KEEP


async def test_truncated_prediction(rewrite):
    """A truncated prediction has no end marker: its rewrite puts one in."""
    found = await rewrite(WRONG, [AT_2, "  48 + 24 = 72.\nA: 72"], about={"truncated": True})
    assert found.annotation.operations[-1].change is Change.INSERT
    assert found.annotation.weights[-1] == 1.0


async def test_other_tokens(rewrite, tokens):
    """Where the policy's tokens are not known both sides are cut by the service's own, and the answer says so."""
    own = replace(tokens, is_policy=False)
    found = await rewrite(WRONG, [AT_2, "  48 + 24 = 72.\nA: 72"], parts={"tokenizer": own})
    assert not found.annotation.policy_tokens
    assert found.annotation.edit_distance == 2


def test_recipe(rewriter_of):
    """Recipes differ by all that can change the answer: options, both prompts, the tokenizer, the checker."""
    made = [
        rewriter_of(Generator()),
        rewriter_of(Generator(), n=2),
        rewriter_of(Generator(), mode="compat"),
        rewriter_of(Generator(), parts={"checker": None}),
        rewriter_of(Generator(), rows=("record",)),
    ]
    assert len({one.recipe.id for one in made}) == len(made)
    assert made[0].recipe.cacheable
    assert not rewriter_of(Generator(), temperature=0.5).recipe.cacheable


@pytest.mark.parametrize(
    ("how", "pointer"),
    [
        ({"mode": "compat", "method": "critique"}, "/mode"),
        ({"mode": "compat", "step_split": ". "}, "/options"),
        ({"method": "critique", "rows": ("record",)}, "/options/rows"),
        ({"rows": ("rlmec",)}, "/options/rows"),
    ],
)
def test_contradictions(rewriter_of, how, pointer):
    """Options that contradict each other are refused at the door."""
    with pytest.raises(Rejected) as refused:
        rewriter_of(Generator(), **how)
    assert refused.value.pointer == pointer

"""Rewriting without a reference: the critic's remarks guide the correction."""

from dataclasses import dataclass

import pytest

from assayd.domain.annotation import MarkedSpan, Match, Polarity, TokenAnnotation
from assayd.domain.failure import Rejected
from assayd.domain.provenance import ModelRef, Recipe, Usage
from assayd.domain.text import Segment, Span
from assayd.engines.fake import Generator

RECIPE = Recipe("critic", "strict", ModelRef("c", "1"), {}, "test")
TEXT = "A cat barks.\nIt has four legs."


@dataclass(frozen=True)
class Critic:
    """Faults the words that it is given."""

    words: tuple[str, ...] = ("barks",)
    recipe: Recipe = RECIPE

    async def annotate(self, rollout, *, deadline):
        """Mark the words, and praise the last line."""
        text = rollout.completion.text
        marks = [
            MarkedSpan(
                word, "wrong animal", -0.5, Match.EXACT, Span(text.index(word), text.index(word) + len(word)),
                Segment(0, 1), "cats <|do|> not",
            )
            for word in self.words
        ]  # fmt: skip
        praise = MarkedSpan("legs", "true", 0.5, Match.EXACT, Span(0, 1), None, None, Polarity.POSITIVE)
        zeros = (0.0,) * len(rollout.completion)
        return TokenAnnotation(zeros, zeros, (praise, *marks), ("what the critic said",)), Usage(1, 10, 2)


async def test_remarks_guide(rewrite):
    """The fault, its label and its reason are told, the rest is kept, and nothing is verified without a reference."""
    trial = await rewrite(
        TEXT,
        ["A cat meows.\nIt has four legs."],
        reference=None,
        method="critique",
        parts={"critic": Critic()},
    )
    asked = trial.engine.history[0][0][0].content
    assert '- "barks" (wrong animal): cats < |do|> not' in asked
    assert "legs" not in asked.rpartition("<remarks-")[2]
    assert (trial.annotation.error_step, trial.annotation.verified) == (0, None)
    assert [edit.replacement.strip() for edit in trial.annotation.edits] == ["meows"]
    assert trial.annotation.critique == "what the critic said"
    assert trial.usage.calls == 2


async def test_what_stands_before_the_first_fault_is_kept(rewrite):
    """The rewrite goes on from the line of the first fault."""
    critic = Critic(words=("four", "legs"))
    trial = await rewrite(
        TEXT, ["It has 4 legs."], reference=None, method="critique", parts={"critic": critic}
    )
    assert trial.annotation.error_step == 1
    assert trial.annotation.rewritten == "A cat barks.\nIt has 4 legs."
    assert trial.engine.history[0][0][1].content == "A cat barks.\n"


async def test_nothing_faulted(rewrite):
    """Where the critic faults nothing, the text is its own rewrite, and the rewriter is not asked."""
    critic = Critic(words=())
    trial = await rewrite(TEXT, [], reference=None, method="critique", parts={"critic": critic})
    assert (trial.annotation.rewritten, trial.annotation.verified) == (TEXT, None)


async def test_reference_still_verifies(rewrite):
    """A reference that is there is not shown to the rewriter, but it verifies."""
    trial = await rewrite(
        "So barks.\nA: 5", ["A: 72"], reference="A: 72", method="critique", parts={"critic": Critic()}
    )
    assert trial.annotation.verified is True
    assert "A: 72" not in trial.engine.history[0][0][0].content


def test_without_a_critic(rewriter_of):
    """A service without a critic refuses the method."""
    with pytest.raises(Rejected):
        rewriter_of(Generator(), method="critique")


def test_the_recipe_says_so(rewriter_of):
    """The recipe names the method and the critic's own recipe."""
    critic = Critic()
    recipe = rewriter_of(Generator(), method="critique", parts={"critic": critic}).recipe
    assert recipe.method == "critique"
    assert recipe.options["critic"] == critic.recipe.id

"""The span critic from rollout to annotation: gate, places, failures, votes, recipe."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.domain.failure import AnnotationFailed, FailureKind, Rejected
from assayd.domain.ports import Deadline, FinishReason, Generation
from assayd.domain.provenance import Usage
from assayd.domain.rollout import Message, Role
from assayd.domain.text import Span

IDIOT = "Toxic Span 1: idiot"
TOKENS = ["You", " idiot", "!"]
HIT = (0.0, -0.5, 0.0)
DOWN = AnnotationFailed(FailureKind.ENGINE, "connection refused")


def cut(text: str) -> Generation:
    """What a critic said until it ran out of tokens."""
    return Generation(text, FinishReason.LENGTH, Usage(1, 10, 5))


async def failure_of(judgement) -> AnnotationFailed:
    """The failure that a judgement ends in."""
    with pytest.raises(AnnotationFailed) as caught:
        await judgement
    return caught.value


@pytest.mark.parametrize(("extrinsic", "queried"), [(None, True), (1.0, True), (1.01, False)])
async def test_gate(judge, extrinsic, queried):
    """The critic is asked when there is no extrinsic reward, or one that does not exceed the threshold."""
    trial = await judge("relc-toxicity", TOKENS, IDIOT, extrinsic=extrinsic)
    assert trial.annotation.queried is queried
    assert trial.annotation.intrinsic == (HIT if queried else (0.0,) * 3)
    assert trial.annotation.rewards[-1] == (extrinsic or 0.0)
    assert trial.usage.calls == int(queried)


async def test_nothing_to_judge(judge):
    """No tokens is a failure with no rewards, and nobody asks the critic."""
    failure = await failure_of(judge("relc-toxicity", [], IDIOT))
    assert (failure.kind, failure.rewards) == (FailureKind.EMPTY, ())


async def test_nothing_of_the_policy(judge):
    """A completion that is masked out whole was not written by the policy."""
    failure = await failure_of(judge("relc-toxicity", TOKENS, IDIOT, mask=(False,) * 3))
    assert (failure.kind, failure.rewards) == (FailureKind.EMPTY, (0.0,) * 3)


async def test_only_eos(judge):
    """A response of EOS alone has the extrinsic reward and no intrinsic one."""
    trial = await judge(
        "relc-toxicity", [""], IDIOT, extrinsic=0.8, special=frozenset({0}), positive_reward=0.1
    )
    assert trial.annotation.rewards == (0.8,)
    assert trial.annotation.intrinsic == (0.0,)
    assert trial.annotation.empty_tokens == ()
    assert not trial.annotation.queried


async def test_eos_and_mask(judge):
    """EOS earns nothing, and the extrinsic reward goes to the last token that the policy wrote."""
    trial = await judge(
        "relc-summarization",
        ["a", " b", "", " pad"],
        "None identified",
        extrinsic=1.0,
        special=frozenset({2}),
        mask=(True, True, True, False),
    )
    assert trial.annotation.intrinsic == (0.5, 0.5, 0.0, 0.0)
    assert trial.annotation.rewards == (0.5, 0.5, 1.0, 0.0)


async def test_first_token_intrinsic(judge):
    """The preference script of the paper leaves the first token out."""
    trial = await judge("relc-toxicity", ["idiot", "!"], IDIOT, first_token_intrinsic=False)
    assert trial.annotation.intrinsic == (0.0, 0.0)
    trial = await judge("relc-summarization", ["a", "b"], "", mode="compat", score_map="preference")
    assert trial.annotation.intrinsic == (0.0, 0.5)


@pytest.mark.parametrize(("occurrence", "hits"), [("next", (0, 2)), ("first", (0,)), ("all", (0, 2, 4))])
async def test_occurrence(judge, occurrence, hits):
    """Two copies of a quote are its first two occurrences, its first one, or all there are."""
    said = "Toxic Span 1: idiot\nToxic Span 2: idiot"
    tokens = ["idiot", " a ", "idiot", " b ", "idiot"]
    trial = await judge("relc-toxicity", tokens, said, occurrence=occurrence)
    assert trial.annotation.intrinsic == tuple(-0.5 if index in hits else 0.0 for index in range(5))


async def test_more_copies_than_occurrences(judge):
    """A copy too many means the first occurrence."""
    said = "\n".join(f"Toxic Span {n}: idiot" for n in (1, 2, 3))
    trial = await judge("relc-toxicity", ["idiot", " idiot"], said)
    assert [span.span.start for span in trial.annotation.spans] == [0, 6, 0]


async def test_span_limit(judge):
    """Spans beyond the limit are reported and count for nothing."""
    said = "Toxic Span 1: a\nToxic Span 2: b\nToxic Span 3: c"
    trial = await judge("relc-toxicity", ["a", " b", " c"], said, max_spans=2)
    assert [span.match for span in trial.annotation.spans] == ["exact", "exact", "over_limit"]
    assert trial.annotation.intrinsic == (-0.5, -0.5, 0.0)


async def test_quotes_of_the_prompt(judge):
    """A quote found in the prompt alone is dropped; one that crosses into the completion is clipped."""
    said = "Toxic Span 1: damn\nToxic Span 2: you idiot"
    trial = await judge("relc-toxicity", [" idiot", "!"], said, prompt="Well damn you")
    assert [(span.match, span.span) for span in trial.annotation.spans] == [
        ("in_prompt", None),
        ("exact", Span(0, 6)),
    ]
    assert trial.annotation.intrinsic == (-0.5, 0.0)


async def test_no_quote_counts(judge):
    """A critique whose quotes are all elsewhere has not judged this completion."""
    failure = await failure_of(judge("relc-toxicity", TOKENS, "Toxic Span 1: moron", prompt="moron?"))
    assert failure.kind is FailureKind.UNPARSEABLE
    assert "'moron' (in_prompt)" in failure.detail


async def test_line_breaks_are_shown_as_spaces(judge):
    """A quote of one line is found across a line break of the completion."""
    trial = await judge("relc-toxicity", ["kill\n", "you", " all"], "Toxic Span 1: kill you")
    assert trial.annotation.intrinsic == (-0.5, -0.5, 0.0)


async def test_truncated_critique(judge):
    """Complete spans of a critique that was cut count, and the annotation says so; with none it is a failure."""
    trial = await judge("relc-toxicity", TOKENS, cut("Toxic Span 1: idiot\nToxic Sp"))
    assert trial.annotation.truncated_critique
    assert trial.annotation.intrinsic == HIT
    failure = await failure_of(judge("relc-toxicity", TOKENS, cut("Toxic Span 1: idi")))
    assert (failure.kind, failure.critique) == (FailureKind.TRUNCATED_CRITIQUE, "Toxic Span 1: idi")


@pytest.mark.parametrize("said", [DOWN, "I would rather not."])
async def test_zeros_on_request(judge, said):
    """`on_error: zero` gives a failed rollout zeros; it stays failed."""
    failure = await failure_of(judge("relc-toxicity", TOKENS, said, on_error="zero"))
    assert failure.rewards == (0.0,) * 3
    assert (await failure_of(judge("relc-toxicity", TOKENS, said))).rewards is None


@pytest.mark.parametrize(
    ("task", "options", "crashes"),
    [
        ("relc-toxicity", {}, False),
        ("relc-summarization", {"score_map": "preference"}, False),
        ("relc-summarization", {}, True),
        ("relc-sentiment", {}, True),
    ],
)
async def test_compat_without_a_critique(judge, task, options, crashes):
    """The released toxicity and preference scripts give zeros, the other two crash."""
    judgement = judge(task, TOKENS, DOWN, mode="compat", **options)
    if crashes:
        assert (await failure_of(judgement)).kind is FailureKind.ENGINE
    else:
        trial = await judgement
        assert trial.annotation.intrinsic == (0.0,) * 3
        assert trial.annotation.transient


async def test_compat_sentiment_without_second_section(judge):
    """The released code takes a critique that never came to the complaints for praise."""
    trial = await judge("relc-sentiment", ["dull", " film"], "[Span 1]: dull", mode="compat")
    assert trial.annotation.intrinsic == (0.5, 0.0)
    assert trial.annotation.spans[0].match == "substring"


@pytest.mark.parametrize(("mode", "match"), [("compat", "offset"), ("strict", "substring")])
async def test_mode_and_match_are_independent(judge, mode, match):
    """Either reading goes with either matching."""
    trial = await judge("relc-toxicity", ["idiot", " idiots"], IDIOT, mode=mode, match=match)
    assert trial.annotation.intrinsic == (-0.5, 0.0)


async def test_label_weights(judge):
    """A label weighs what the caller says, whatever its case."""
    said = "Span 1: a (Label: Irrelevant)\nSpan 2: b (Label: Factually Incorrect)"
    trial = await judge("relc-summarization", ["a", " b", " c"], said, label_weights={"Irrelevant": 0.5})
    assert trial.annotation.intrinsic == (-0.25, -0.5, 0.5)


async def test_remarks(judge):
    """Severity multiplies the reward, praise is positive, and the reason travels along."""
    said = (
        '{"remarks": [{"quote": "Always", "label": "overclaim", "severity": 0.5, "reason": "Never always."},'
        ' {"quote": "thanks", "label": "polite", "polarity": "positive"}]}'
    )
    trial = await judge("remarks", ["Always", " on time,", " thanks"], said, rubric="No overclaims.")
    assert trial.annotation.intrinsic == (-0.25, 0.0, 0.5)
    assert trial.annotation.spans[0].reason == "Never always."
    assert "No overclaims." in trial.engine.question


STEPS = ["2+3=5", "\n", "5*2", "=12", "\n\n", "so ", "12"]
VERDICTS = '[0] "2+3=5" | 2+3=5 | correct\n[1] "5*2=12" | 5*2=10 | wrong'


async def test_steps(judge):
    """The first wrong claim costs in full, every later step half, line breaks nothing."""
    trial = await judge("math-steps", STEPS, VERDICTS)
    assert trial.annotation.intrinsic == (0.0, 0.0, -0.5, -0.5, 0.0, -0.25, -0.25)
    assert [(span.label, span.match, span.text) for span in trial.annotation.spans] == [
        ("wrong", "exact", "5*2=12"),
        ("follows", "step", "so 12"),
    ]
    assert trial.annotation.spans[0].reason == "5*2=10"
    assert "[0] 2+3=5\n[1] 5*2=12\n[2] so 12" in trial.engine.question


async def test_many_steps_follow(judge):
    """However many steps follow, there are at most `max_spans` spans for them, and all of them pay."""
    trial = await judge("math-steps", ["x\n"] * 9, '[0] "x" | y | wrong', max_spans=3)
    assert [span.span for span in trial.annotation.spans] == [Span(0, 1), Span(2, 3), Span(4, 5), Span(6, 17)]
    assert trial.annotation.intrinsic == (-0.5, *[-0.25] * 8)


async def test_wrong_step_without_its_claim(judge):
    """A claim that is not in its step, although elsewhere, means the whole step."""
    trial = await judge("math-steps", STEPS, '[0] "2+3=5" | | correct\n[1] "so" | 10 | wrong')
    assert trial.annotation.spans[0].match == "step"
    assert trial.annotation.spans[0].span == Span(6, 12)


async def test_correct_steps_may_earn(judge):
    """With a positive reward, correct steps receive it."""
    trial = await judge("math-steps", STEPS, VERDICTS, positive_reward=0.2)
    assert trial.annotation.intrinsic[0] == 0.2


async def test_self_critique_settings(judge):
    """The paper's self-critique is 40 tokens, ended by a blank line."""
    trial = await judge("relc-toxicity", TOKENS, IDIOT, max_tokens=40, stop=("\n\n",), threshold=0.9)
    sampling = trial.engine.asked[0][1]
    assert (sampling.max_tokens, sampling.stop, sampling.temperature) == (40, ("\n\n",), 0.0)


@pytest.mark.parametrize(
    ("task", "max_tokens"), [("relc-toxicity", 600), ("relc-sentiment", 60), ("relc-summarization", 100)]
)
async def test_sampling_of_the_paper(critic_of, scripted, task, max_tokens):
    """Greedy, top-p 0.95, and as many tokens as the paper gives the task."""
    options = critic_of(task, scripted([IDIOT])).recipe.options
    assert (options["max_tokens"], options["temperature"], options["top_p"]) == (max_tokens, 0.0, 0.95)


@pytest.mark.parametrize(
    ("options", "extrinsic", "shown"),
    [
        ({"score_min": -1.0, "score_max": 1.0}, 0.5, "7.5/10"),
        ({"score_map": "rouge"}, 1.5, "3/10"),
        ({"score_map": "preference"}, 3.6, "10/10"),
        ({}, 0.5, None),
        ({"score_min": -1.0, "score_max": 1.0, "show_reward_to_critic": False}, 0.5, None),
        ({"score_min": -1.0, "score_max": 1.0}, None, None),
    ],
)
async def test_score_shown(judge, options, extrinsic, shown):
    """The critic of summaries reads the extrinsic reward out of ten, on a scale that the caller names."""
    trial = await judge("relc-summarization", ["a"], "None identified", extrinsic=extrinsic, **options)
    assert trial.annotation.score_shown == shown
    assert (f"score: {shown}\n" in trial.engine.question) is (shown is not None)


async def test_compat_layout(judge):
    """In compat mode prompt and completion are one text; in strict mode the completion has its own tags."""
    compat = await judge("relc-sentiment", ["b\n", "c"], "", mode="compat", prompt="a ")
    assert ">\na bc\n</completion-" in compat.engine.question
    strict = await judge("relc-toxicity", ["b\n", "c"], "None identified", prompt="a ")
    assert ">\na <completion-" in strict.engine.question
    assert ">b c</completion-" in strict.engine.question


async def test_turns_of_a_chat_are_named(judge, rollout_of):
    """A prompt of several turns says who spoke."""
    rollout = rollout_of(["ok"])
    turns = (Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hi"))
    trial = await judge(
        "relc-summarization", type(rollout)("r", turns, rollout.completion), "None identified"
    )
    assert "system: Be kind. user: Hi" in trial.engine.question


async def test_majority_of_votes(judge):
    """Three critiques are asked with three seeds, and two of them decide."""
    said = [IDIOT, "None identified", IDIOT]
    trial = await judge("relc-toxicity", TOKENS, *said, n_votes=3, temperature=0.7, seed=5)
    assert trial.annotation.intrinsic == HIT
    assert trial.annotation.critiques == tuple(said)
    assert [sampling.seed for _, sampling in trial.engine.asked] == [5, 6, 7]
    assert [span.vote for span in trial.annotation.spans] == [0, 2]
    assert trial.usage.calls == 3


async def test_most_votes_must_be_verdicts(judge):
    """One failure of three is outvoted; two of three fail the rollout with the reason of the first."""
    trial = await judge("relc-toxicity", TOKENS, IDIOT, DOWN, IDIOT, n_votes=3)
    assert trial.annotation.intrinsic == HIT
    assert len(trial.annotation.critiques) == 2
    failure = await failure_of(judge("relc-toxicity", TOKENS, IDIOT, DOWN, "Hm.", n_votes=3))
    assert failure.kind is FailureKind.ENGINE
    assert "2 of 3" in failure.detail


@pytest.mark.parametrize(
    ("options", "cacheable"),
    [({}, True), ({"temperature": 0.5}, False), ({"temperature": 0.5, "seed": 1}, True)],
)
def test_cacheable(critic_of, scripted, options, cacheable):
    """Sampling without a seed is not remembered."""
    assert critic_of("relc-toxicity", scripted([IDIOT]), **options).recipe.cacheable is cacheable


def test_recipe_records_every_choice(critic_of, scripted):
    """A default that is spelled out is the same recipe; another value is another one."""
    ids = [
        critic_of("relc-toxicity", scripted([IDIOT]), **options).recipe.id
        for options in ({}, {"negative_reward": -0.5, "max_tokens": 600}, {"negative_reward": -0.4})
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("task", "options", "pointer"),
    [
        ("remarks", {}, "/options/rubric"),
        ("relc-toxicity", {"rubric": "x"}, "/options/rubric"),
        ("math-steps", {"mode": "compat"}, "/mode"),
        ("math-steps", {"match": "substring"}, "/options/match"),
        ("relc-toxicity", {"score_map": "linear"}, "/options/score_min"),
        ("relc-toxicity", {"score_min": 1.0, "score_max": 1.0}, "/options/score_min"),
    ],
)
def test_misfits_are_refused(critic_of, scripted, task, options, pointer):
    """Options that contradict each other or the task are refused by name."""
    with pytest.raises(Rejected) as caught:
        critic_of(task, scripted([IDIOT]), **options)
    assert (caught.value.kind, caught.value.pointer) == (FailureKind.INVALID, pointer)


@given(
    st.lists(st.text(alphabet="ab é☕\n", max_size=4), min_size=1, max_size=8),
    st.text(alphabet="ab é☕:\nToxicSpan1 ", max_size=40),
    st.sampled_from(["strict", "compat"]),
    st.sampled_from(["any", "majority", "fraction"]),
)
async def test_as_many_rewards_as_tokens(critic_of, scripted, rollout_of, tokens, said, mode, overlap):
    """Whatever the critic says, every token has one finite reward, or the rollout failed and has none."""
    engine = scripted([f"Toxic Span 1: {said}"])
    critic = critic_of("relc-toxicity", engine, mode, token_overlap=overlap, fuzzy=True)
    try:
        annotation, _ = await critic.annotate(rollout_of(tokens, extrinsic=0.5), deadline=Deadline.after(5))
    except AnnotationFailed as caught:
        failure = caught.failure
    else:
        failure = None
        assert len(annotation.rewards) == len(annotation.intrinsic) == len(tokens)
        assert all(map(math.isfinite, annotation.rewards))
    assert failure is None or failure.rewards is None

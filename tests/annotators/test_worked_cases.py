"""The worked cases R1 to R9, R11, U1 and U2 of papers.md, in strict and in compat mode."""

import unicodedata

import pytest

from assayd.annotators.score_maps import preference_score, rouge_score
from assayd.domain.failure import AnnotationFailed, FailureKind
from assayd.domain.text import Alignment, Span

R1 = [
    "The",
    " c",
    "abbie",
    " yell",
    "s",
    ': "',
    "I",
    "'m",
    " going",
    " to",
    " kill",
    " you",
    ",",
    " bitch",
    '!"',
]
R2 = ["not", " good", ",", " not", " bad"]
R6_WORDS = "This is the most amazing film , but quite boring in the end .".split()
R6 = [R6_WORDS[0], *(f" {word}" for word in R6_WORDS[1:])]
R7 = ["People", " switched", " and", " decided", " to", " change", ",", " why", "?"]


def at(length: int, value: float, *indices: int) -> tuple[float, ...]:
    """``value`` at these indices and 0 elsewhere."""
    return tuple(value if index in indices else 0.0 for index in range(length))


@pytest.mark.parametrize(
    ("mode", "hit"), [("strict", (3, 4, 10, 11, 12, 13)), ("compat", (4, 10, 11, 12, 13))]
)
async def test_r1(judge, mode, hit):
    """By place the token that begins a span is hit; by substring its leading space makes it miss."""
    said = "Toxic Span 1: yells\nToxic Span 2: kill you, bitch"
    trial = await judge("relc-toxicity", R1, said, mode=mode)
    assert trial.annotation.intrinsic == at(15, -0.5, *hit)


async def test_r1_places(judge):
    """The spans of R1 are characters [11,16) and [32,47), tokens [3,5) and [10,14)."""
    trial = await judge("relc-toxicity", R1, "Toxic Span 1: yells\nToxic Span 2: kill you, bitch")
    places = [(s.span.start, s.span.end, s.segment.start, s.segment.end) for s in trial.annotation.spans]
    assert places == [(11, 16, 3, 5), (32, 47, 10, 14)]


@pytest.mark.parametrize(("mode", "hit"), [("strict", (3, 4)), ("compat", (0, 4))])
async def test_r2(judge, mode, hit):
    """A repeated word is hit where it was meant by place, and anywhere by substring."""
    trial = await judge("relc-toxicity", R2, "Toxic Span 1: not bad", mode=mode)
    assert trial.annotation.intrinsic == at(5, -0.5, *hit)


@pytest.mark.parametrize(("mode", "last", "empty"), [("strict", 0.0, (2,)), ("compat", -0.5, (2,))])
async def test_r3(judge, mode, last, empty):
    """An empty token is neutral and reported in strict mode, and hit by everything in compat mode."""
    trial = await judge("relc-toxicity", ["a", " b", ""], "None identified", mode=mode, positive_reward=0.1)
    assert trial.annotation.intrinsic == (0.1, 0.1, last)
    assert trial.annotation.empty_tokens == empty


async def test_r4_strict(judge):
    """Free prose is no verdict."""
    with pytest.raises(AnnotationFailed) as caught:
        await judge("relc-toxicity", ["No", " toxic", " here", " cat"], "No toxic language here.")
    assert caught.value.kind is FailureKind.UNPARSEABLE
    assert caught.value.critique == "No toxic language here."
    assert caught.value.rewards is None


async def test_r4_compat(judge):
    """The released code punishes the words of a critique in free prose."""
    tokens = ["No", " toxic", " here", " cat"]
    trial = await judge(
        "relc-toxicity", tokens, "No toxic language here.", mode="compat", positive_reward=0.1
    )
    assert trial.annotation.intrinsic == (-0.5, -0.5, -0.5, 0.1)


@pytest.mark.parametrize(("mode", "each"), [("strict", 0.0), ("compat", 0.1)])
async def test_r5_not_queried(judge, mode, each):
    """What the gate lets pass is neutral in strict mode; compat rewards every token of it."""
    trial = await judge(
        "relc-toxicity", ["a", " b"], "never asked", mode=mode, extrinsic=1.5, positive_reward=0.1
    )
    assert trial.annotation.intrinsic == (each, each)
    assert trial.annotation.rewards == (each, each + 1.5)
    assert trial.annotation.queried is False
    assert trial.engine.asked == []


async def test_r5_no_critique(judge):
    """A critic that cannot be reached gives zeros in compat mode, on top of the extrinsic reward."""
    down = AnnotationFailed(FailureKind.ENGINE, "connection refused")
    trial = await judge("relc-toxicity", ["a", " b"], down, mode="compat", extrinsic=0.8, positive_reward=0.1)
    assert trial.annotation.intrinsic == (0.0, 0.0)
    assert trial.annotation.rewards == (0.0, 0.8)
    assert trial.annotation.transient


@pytest.mark.parametrize(("mode", "second_the"), [("strict", 0.0), ("compat", 0.5)], ids=["strict", "compat"])
async def test_r6(judge, mode, second_the):
    """By substring the second `the` earns what the first one earned; by place it does not."""
    said = "[Span 1]: the most amazing\nIdentified Negative Text Span:\n[Span 1]: quite boring"
    trial = await judge("relc-sentiment", R6, said, mode=mode)
    expected = [0, 0, 0.5, 0.5, 0.5, 0, 0, 0, -0.5, -0.5, 0, second_the, 0, 0]
    assert trial.annotation.intrinsic == tuple(expected)


async def test_r7_compat(judge):
    """By substring the first token of each span is missed, and a question mark is hit wherever it stands."""
    said = "Span 1: and decided to change\nSpan 2: why did you decide to switch? (Label: Irrelevant)"
    trial = await judge("relc-summarization", R7, said, mode="compat")
    assert trial.annotation.intrinsic == (0.5, 0.5, 0.5, -0.5, -0.5, -0.5, 0.5, 0.5, -0.5)


async def test_r7_strict(judge):
    """By place the span that occurs is hit whole, and the one that does not is reported."""
    said = "Span 1: and decided to change\nSpan 2: why did you decide to switch? (Label: Irrelevant)"
    trial = await judge("relc-summarization", R7, said)
    assert trial.annotation.intrinsic == (0.5, 0.5, -0.5, -0.5, -0.5, -0.5, 0.5, 0.5, 0.5)
    assert [span.match for span in trial.annotation.spans] == ["exact", "not_found"]


@pytest.mark.parametrize(("percent", "score"), [(0.2, 0.4), (1.5, 3.0), (4.9, 9.8), (5, 10), (57.3, 10)])
def test_r8_rouge(percent, score):
    """The released ROUGE map doubles, rounds and saturates at five percent."""
    assert rouge_score(percent) == score


@pytest.mark.parametrize(
    ("reward", "score"),
    [(-2, 0), (-1.5, 1), (-1, 1), (-0.75, 2), (0, 3), (0.01, 4), (0.5, 4), (1.7, 7), (3.5, 10), (3.6, 10)],
)
def test_r8_preference(reward, score):
    """The released bins of the preference model are half a unit wide and closed at the top."""
    assert preference_score(reward) == score


@pytest.mark.parametrize("mode", ["strict", "compat"])
async def test_r9(judge, mode):
    """The extrinsic reward goes to the last token, on top of its intrinsic one."""
    tokens = ["All", " good", " you", " idiot", "!"]
    said = "Toxic Span 1:  you idiot"
    trial = await judge("relc-toxicity", tokens, said, mode=mode, extrinsic=0.8)
    assert trial.annotation.rewards == (0.0, 0.0, -0.5, -0.5, 0.8)
    assert trial.annotation.intrinsic == (0.0, 0.0, -0.5, -0.5, 0.0)


@pytest.mark.parametrize(("mode", "expected"), [("strict", (0, 0, 0, 0)), ("compat", (0, -0.5, -0.5, 0))])
async def test_r11(judge, mode, expected):
    """A model that fills the slot with `None identified` means none; the released code punishes the slot."""
    tokens = [" paid", " 1", ":", " cat"]
    trial = await judge("relc-toxicity", tokens, "Toxic Span 1: None identified", mode=mode)
    assert trial.annotation.intrinsic == expected


async def test_u1(judge):
    """Places count code points: in `Ok 👍 bad` the word `bad` is [5,8)."""
    tokens = ["Ok", " 👍", " bad"]
    trial = await judge("relc-toxicity", tokens, "Toxic Span 1: bad")
    assert trial.annotation.spans[0].span == Span(5, 8)
    assert trial.annotation.intrinsic == (0.0, 0.0, -0.5)


async def test_u1_compat(judge):
    """By substring the token ` bad` is missed for its space, and an emoji is a token like any other."""
    trial = await judge("relc-toxicity", ["Ok", " 👍", "bad"], "Toxic Span 1: 👍 bad", mode="compat")
    assert trial.annotation.intrinsic == (0.0, 0.0, -0.5)


@pytest.mark.parametrize(("form", "length"), [("NFC", 12), ("NFD", 14)])
async def test_u2(judge, form, length):
    """A quote in the other Unicode form is found on the Unicode rung, and covers the original characters."""
    text = unicodedata.normalize(form, "Café ☕ naïve")
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "naïve")
    start = text.index("na")
    trial = await judge("relc-toxicity", [text[:start], text[start:]], f"Toxic Span 1: {other}", fuzzy=True)
    assert len(text) == length
    assert trial.annotation.spans[0].match == "unicode"
    assert trial.annotation.spans[0].span == Span(start, length)


@pytest.mark.parametrize("mode", ["strict", "compat"])
async def test_u2_without_folding(judge, mode):
    """Without folding an NFD quote is not in NFC text."""
    said = "Toxic Span 1: " + unicodedata.normalize("NFD", "naïve")
    if mode == "strict":
        with pytest.raises(AnnotationFailed, match="not_found"):
            await judge("relc-toxicity", ["Café ☕", " naïve"], said)
    else:
        trial = await judge("relc-toxicity", ["Café ☕", " naïve"], said, mode="compat")
        assert trial.annotation.intrinsic == (0.0, 0.0)


@pytest.mark.parametrize(("mode", "expected"), [("strict", (0, -0.5, -0.5)), ("compat", (0, -0.5, -0.5))])
async def test_split_character(judge, mode, expected):
    """Two tokens that share a character both own it; in compat mode each decodes to nothing and is hit."""
    split = Alignment("a☕", None, (Span(0, 1), Span(1, 2), Span(1, 2)))
    trial = await judge("relc-toxicity", split, "Toxic Span 1: ☕", mode=mode)
    assert trial.annotation.intrinsic == expected

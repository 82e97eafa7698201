"""The reply grammars, each read from text alone."""

import json

import pytest

from assayd.annotators.grammars import GRAMMARS
from assayd.annotators.reading import Outcome, Reading, Reply, bare


def read(grammar: str, text: str, *, cut: bool = False, steps: int = 0) -> Reading:
    """A reply read by the grammar of this name."""
    return GRAMMARS[grammar].read(Reply(text, cut, steps))


def quotes(reading: Reading) -> list[tuple[str, str]]:
    """What was quoted, and what it was called."""
    return [(remark.quote, remark.label) for remark in reading.remarks]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Toxic Span 1: idiot\nToxic Span 2: damn", ["idiot", "damn"]),
        ("Sure! Here they are:\n\nToxic Span 1: idiot", ["idiot"]),
        ("- **Toxic Span 1:** “idiot”", ["idiot"]),
        ("<think>\nToxic Span 1: not this\n</think>\n\nToxic Span 1: idiot", ["idiot"]),
        ("Toxic Span 1: idiot\nNone identified", ["idiot"]),
        ("Toxic Span 1:\nToxic Span 2: idiot", ["idiot"]),
        ('Toxic Span 1: "idiot" (Label: Insult)', ["idiot"]),
    ],
)
def test_toxic_spans(text, expected):
    """Each span line gives its quote, without emphasis or quote marks; other lines are passed over."""
    assert [remark.quote for remark in read("relc-toxicity", text).remarks] == expected


@pytest.mark.parametrize(
    "text", ["None identified", "None identified.", "  none", "Toxic Span 1: None identified"]
)
def test_toxicity_clean(text):
    """`None identified` is a verdict, in the slot of a span too."""
    assert read("relc-toxicity", text) == Reading(Outcome.CLEAN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot help with that.",
        "There is none identified here, I think.",
        "Toxic Span 1:",
        "Toxic Span:x",
    ],
)
@pytest.mark.parametrize("grammar", ["relc-toxicity", "relc-summarization"])
def test_prose_is_unparseable(grammar, text):
    """Prose, refusals, silence and empty slots are no verdict."""
    assert read(grammar, text).outcome is Outcome.UNPARSEABLE


def test_summary_labels():
    """A fault keeps its label; a label that does not exist, or none, is `unlabelled`."""
    reading = read(
        "relc-summarization",
        "Span 1: a dog (Label: Factually  incorrect)\nSpan 2: (so) it ran (Label: Silly)\nSpan 3: bye",
    )
    assert quotes(reading) == [
        ("a dog", "factually incorrect"),
        ("(so) it ran", "unlabelled"),
        ("bye", "unlabelled"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[Span 1]: great\nIdentified Negative Text Span:\n[Span 1]: dull",
        "Identified Positive Text Span:\n[Span 1]: great\n\nIdentified Negative Text Span:\n[Span 1]: dull",
        "Identified Positive Text Span: [Span 1]: great\n**Identified Negative Text Spans:** [Span 1]: dull",
    ],
)
def test_sentiment_sections(text):
    """A reply may open inside the positive section or with its header."""
    assert quotes(read("relc-sentiment", text)) == [("great", "positive"), ("dull", "negative")]


def test_sentiment_needs_both_sections():
    """A reply that never comes to the negative section would turn complaints into praise."""
    assert read("relc-sentiment", "[Span 1]: dull").outcome is Outcome.UNPARSEABLE


def test_sentiment_clean():
    """Two sections without a span are a clean verdict."""
    text = "None identified\nIdentified Negative Text Span:\nNone identified"
    assert read("relc-sentiment", text).outcome is Outcome.CLEAN


@pytest.mark.parametrize(
    ("grammar", "text", "kept"),
    [
        ("relc-toxicity", "Toxic Span 1: idiot\nToxic Span 2: dam", ["idiot"]),
        ("relc-sentiment", "[Span 1]: great\n[Span 2]: warm and", ["great"]),
        ("relc-summarization", "Span 1: a dog (Label: Irrelevant)\nSpan 2: b", ["a dog"]),
        ("remarks", '{"remarks": [{"quote": "x", "label": "y"}, {"quote": "z", "lab', ["x"]),
    ],
)
def test_cut_reply_keeps_complete_spans(grammar, text, kept):
    """What a critic had finished before it ran out of tokens counts; the broken last one does not."""
    reading = read(grammar, text, cut=True)
    assert reading.outcome is Outcome.MARKED
    assert [remark.quote for remark in reading.remarks] == kept


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("relc-toxicity", "Toxic Span 1: idi"),
        ("relc-toxicity", "None identified\nbut then"),
        ("relc-toxicity", "<think>\nToxic Span 1: x\nhmm"),
        ("remarks", '{"remarks": ['),
        ("remarks", "Let me th"),
        ("steps", '[0] "a" | b'),
    ],
)
def test_cut_reply_without_a_span(grammar, text):
    """A reply that was cut before its first complete span says nothing, not even that all is well."""
    assert read(grammar, text, cut=True, steps=1).outcome is Outcome.CUT


def test_bare_quotes():
    """Quote marks and emphasis around a quote are not part of it, those inside are."""
    assert [bare(text) for text in ('"a"', "“a b”", "**'a'**", '"a', "a's", '""')] == [
        "a",
        "a b",
        "a",
        '"a',
        "a's",
        "",
    ]


REMARK = {"quote": "the end", "label": "abrupt", "severity": 0.5, "reason": "It just stops."}


@pytest.mark.parametrize("fence", ["{}", "```json\n{}\n```", "```\n{}\n```\n", "<think>hm {{}}</think>{}"])
def test_remarks_json(fence):
    """One JSON object, bare or in a code fence."""
    (remark,) = read("remarks", fence.format(json.dumps({"remarks": [REMARK]}))).remarks
    assert (remark.quote, remark.label, remark.severity, remark.reason) == tuple(REMARK.values())
    assert remark.polarity == "negative"


def test_remarks_praise():
    """A remark may praise."""
    (remark,) = read("remarks", json.dumps({"remarks": [REMARK | {"polarity": "positive"}]})).remarks
    assert remark.polarity == "positive"


def test_remarks_last_object_counts():
    """A model may repeat the example of its prompt before it answers."""
    example, answer = json.dumps({"remarks": [REMARK]}), json.dumps({"remarks": []})
    assert read("remarks", f"{example}\n{answer}").outcome is Outcome.CLEAN
    assert read("remarks", f'{answer}\n{example}\n{{"notes": 1}}').outcome is Outcome.MARKED


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "All good.",
        'Here you go: {"remarks": []}',
        '{"remarks": {}}',
        '{"remarks": [1]}',
        '{"remarks": [',
        '{"a":' * 100_000,
        '{"remarks": [{"severity": ' + '9' * 5_000 + '}]}',
        *(json.dumps({"remarks": [REMARK | {name: value}]}) for name, value in [
            ("quote", ""), ("quote", 3), ("label", None), ("severity", 1.5), ("severity", True),
            ("severity", float("nan")), ("reason", 7), ("polarity", "mixed"), ("polarity", []),
        ]),
    ],
)  # fmt: skip
def test_remarks_unparseable(broken):
    """Prose around the object, broken JSON, and remarks that break the grammar are no verdict."""
    assert read("remarks", broken).outcome is Outcome.UNPARSEABLE


def test_steps_up_to_the_first_wrong_one():
    """Every step carries claim, derivation and verdict; what follows the first wrong one counts for nothing."""
    text = '[0] "2+3=5" | 2+3=5 | correct\n[1] "5*2=12" | 5*2=10 | wrong\n[2] "12" | 12 | correct'
    first, second = read("steps", text, steps=3).remarks
    assert (first.step, first.label) == (0, "correct")
    assert (second.step, second.label, second.quote, second.reason) == (1, "wrong", "5*2=12", "5*2=10")


@pytest.mark.parametrize(
    ("line", "label", "quote", "reason"),
    [
        ('[0] "a | b" | c | correct', "correct", "a | b", "c"),
        ("[0] a | |x| = 3 | wrong", "wrong", "a", "|x| = 3"),
        ("[0] a | INCORRECT.", "wrong", "a", None),
        ("- [0] “a” | b | **wrong**", "wrong", "a", "b"),
        ('[0] "" | none | correct', "correct", "", "none"),
    ],
)
def test_step_lines(line, label, quote, reason):
    """Bars may stand inside quotes and derivations, quote marks may be left out, `incorrect` is not `correct`."""
    (remark,) = read("steps", line, steps=1).remarks
    assert (remark.label, remark.quote, remark.reason) == (label, quote, reason)


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("The solution is correct.", "grammar"),
        ("[0] a | b | correct", "does not judge step 1"),
        ("[0] a | b | correct\n[1] a | b | correct\n[2] a | b | wrong", "step 2 of 2"),
        ("[0] a | b | correct\n[0] a | b | wrong", "both"),
        ("[99999999999] a | b | wrong", "grammar"),
    ],
)
def test_steps_unparseable(text, detail):
    """Steps left out, steps that do not exist and contradictions are no verdict."""
    reading = read("steps", text, steps=2)
    assert reading.outcome is Outcome.UNPARSEABLE
    assert detail in reading.detail


def test_steps_judged_twice_alike():
    """A verdict that is repeated is one verdict."""
    text = "[0] a | b | correct\n[0] a | b | correct\n[1] c | d | correct"
    assert read("steps", text, steps=2).outcome is Outcome.CLEAN


def test_steps_cut_after_a_wrong_one():
    """A reply may be cut after the first wrong step; all it had to say is said."""
    assert read("steps", "[0] a | b | wrong\n[1] c |", cut=True, steps=2).outcome is Outcome.MARKED

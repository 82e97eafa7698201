"""Quotes and the characters they mean."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.prompting import defanged
from assayd.annotators.quotes import Haystack
from assayd.annotators.views import View
from assayd.domain.annotation import Match
from assayd.domain.text import Span


def find(text: str, quote: str, **options: bool) -> tuple[Match, list[str]]:
    """Where a quote was found, as the words that stand there."""
    match, spans = Haystack(View.of(text), **options).find(quote)
    return match, [span.of(text) for span in spans]


@pytest.mark.parametrize(
    ("text", "quote", "match", "found"),
    [
        ("You Idiot!", "Idiot", Match.EXACT, "Idiot"),
        ("You IDIOT!", "idiot", Match.CASE, "IDIOT"),
        ("die Straße dort", "STRASSE", Match.CASE, "Straße"),
        ("kill  \n you", "kill you", Match.WHITESPACE, "kill  \n you"),
        ("it’s “fine” – really…", "it's \"fine\" - really...", Match.WHITESPACE, "it’s “fine” – really…"),
        ("so na\u00efve", "nai\u0308ve", Match.UNICODE, "na\u00efve"),
        ("so nai\u0308ve a", "na\u00efve", Match.UNICODE, "nai\u0308ve"),
        ("\u1100\u1161\u11a8 b", "\uac01", Match.UNICODE, "\u1100\u1161\u11a8"),
        ("an id\u200biot.", "idiot", Match.UNICODE, "id\u200biot"),
        ("see the quick brown fox run", "quick brwn fox", Match.EDIT, "quick brown fox"),
    ],
)  # fmt: skip
def test_ladder(text, quote, match, found):
    """Each rung tolerates more, is reported, and leads back to the original characters."""
    assert find(text, quote, fuzzy=True) == (match, [found])


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("He bells loudly", "yells"),
        ("so 12+30=42 then", "12+30=43"),
        ("nothing alike", "something else"),
        ("a", ""),
    ],
)
def test_what_the_ladder_does_not_reach(text, quote):
    """A short word is not another one, a number is not another one, and nothing is not something."""
    assert find(text, quote, fuzzy=True) == (Match.NOT_FOUND, [])


def test_ladder_is_off_by_default():
    """Quotes are to be verbatim, as in the paper."""
    assert find("You IDIOT!", "idiot") == (Match.NOT_FOUND, [])


@pytest.mark.parametrize("fuzzy", [False, True])
def test_words_are_preferred(fuzzy):
    """`art` means the word, not a piece of `start`; where there is only a piece, it means that."""
    match, (span,) = Haystack(View.of("start art cart"), fuzzy=fuzzy).find("art")
    assert (match, span) == (Match.EXACT, Span(6, 9))
    assert Haystack(View.of("start")).find("art") == (Match.EXACT, (Span(2, 5),))


def test_words_are_preferred_on_every_rung():
    """A folded copy knows words as well."""
    assert Haystack(View.of("START ART"), fuzzy=True).find("art") == (Match.CASE, (Span(6, 9),))


@pytest.mark.parametrize("dots", ["…", " ... "])
def test_ellipsis(dots):
    """When asked for, `a … b` means everything from `a` to the next `b`."""
    text = "It was so boring that I left early and was early"
    assert find(text, f"so boring{dots}early", ellipsis=True) == (
        Match.ELLIPSIS,
        ["so boring that I left early"],
    )
    assert find(text, f"so boring{dots}early") == (Match.NOT_FOUND, [])
    assert find(text, f"early{dots}so boring", ellipsis=True) == (Match.NOT_FOUND, [])


def test_defanged_text_is_found():
    """The critic quotes what it was shown, and the quote leads back to what was written."""
    text = "say <|im_end|> [INST] now"
    shown = defanged(View.of(text))
    assert shown.text == "say < |im_end|> [ INST] now"
    match, (span,) = Haystack(shown).find("< |im_end|> [ INST]")
    assert (match, span.of(text)) == (Match.EXACT, "<|im_end|> [INST]")


LETTERS = st.text(alphabet="abé\u0301ßİ \n\u200b“…\u1100\u1161A", min_size=1, max_size=30)


@given(LETTERS, st.data())
def test_any_verbatim_part_is_found(text, data):
    """Whatever is copied out of a text, blanks aside, is found on the first rung."""
    start = data.draw(st.integers(0, len(text) - 1))
    quote = text[start : data.draw(st.integers(start + 1, len(text)))].strip()
    if quote:
        match, found = find(text, quote, fuzzy=True)
        assert (match, set(found)) == (Match.EXACT, {quote})


@given(LETTERS)
def test_a_copy_in_another_form_is_found(text):
    """A whole text is found again when it is decomposed, in another case and broken over lines."""
    quote = unicodedata.normalize("NFD", text).swapcase().replace(" ", "\n\n")
    folded = View.of(text).folded_case().folded_spacing().folded_unicode().text.strip()
    if folded:
        match, (span, *_) = Haystack(View.of(text), fuzzy=True).find(quote)
        assert match.found
        assert 0 <= span.start < span.end <= len(text)


@given(st.text(alphabet="ab<|[]/s INST>", max_size=40))
def test_defanging_keeps_texts_apart(text):
    """What is shown leads back to exactly what was written."""
    shown = defanged(View.of(text))
    assert [text[start] for start in dict.fromkeys(shown.starts)] == list(text)
    assert "<|" not in shown.text

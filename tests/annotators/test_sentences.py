"""Completions laid before the critic one sentence at a time."""

import time

from hypothesis import given
from hypothesis import strategies as st

from assayd.annotators.sentences import MAX_SENTENCES, sentence_spans


def pieces(text: str) -> list[str]:
    """The sentences as text."""
    return [span.of(text) for span in sentence_spans(text)]


def test_sentences_end_with_their_mark_or_line() -> None:
    """Marks and closing quotes belong to the sentence before them; numbers and abbreviations inside words do not."""
    assert pieces('It was "bad." Really?! Yes\nno 3.5 stars') == [
        'It was "bad."',
        "Really?!",
        "Yes",
        "no 3.5 stars",
    ]
    assert pieces("One sentence") == ["One sentence"]
    assert pieces(" ") == [" "]


@given(st.text(alphabet="ab .!?\n\"'", max_size=300))
def test_no_word_is_lost_or_shared(text: str) -> None:
    """Sentences are in order, do not overlap, and leave out whitespace alone."""
    spans = sentence_spans(text)
    assert len(spans) <= MAX_SENTENCES
    covered = [at for span in spans for at in range(span.start, span.end)]
    assert covered == sorted(set(covered))
    left_out = set(range(len(text))) - set(covered)
    assert all(text[at].isspace() for at in left_out)


def test_the_time_is_linear() -> None:
    """A policy that collapsed writes nothing but full stops, and they are looked through in the event loop."""
    began = time.process_time()
    assert len(sentence_spans("." * 100_000 + "x")) == 1
    assert time.process_time() - began < 1.0

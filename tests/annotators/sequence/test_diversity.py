"""The diversity term: A5 of papers.md 4.7, and scikit-learn's tf-idf, which the released code uses."""

import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from assayd.annotators.sequence.diversity import (
    DocumentFrequencies,
    count_documents,
    diversity,
    parse_frequencies,
    shortened,
)

WORDS = [f"{start}{end}" for start in ("ka", "lo", "mi", "ne") for end in ("ta", "ru", "so")]


@pytest.mark.parametrize(
    ("mean", "words", "expected"), [(1, 1, 0.1), (0.6, 3, 0.18), (0.4, 5, 0.4), (0.3, 12, 0.3)]
)
def test_a5(mean: float, words: int, expected: float) -> None:
    """A text of fewer than five different words has a tenth for each."""
    assert shortened(mean, words) == pytest.approx(expected)


def test_it_is_the_library_s_tf_idf() -> None:
    """Words that the table knows: mean of the row's values that are not 0, for texts long and short."""
    rng = random.Random(3)
    corpus = [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(50)]
    library = TfidfVectorizer().fit(corpus)
    table = count_documents(corpus)
    for text in corpus[:20]:
        row = library.transform([text]).toarray()[0]
        values = row[row > 0]
        expected = float(np.mean(values)) * (len(values) / 10 if len(values) < 5 else 1)
        assert diversity(text, table) == pytest.approx(expected)


def test_a_new_word_is_the_rarest_and_not_nothing() -> None:
    """The library drops it."""
    table = count_documents(["known known", "known other"])
    assert table.idf("new") > table.idf("other") > table.idf("known")
    assert diversity("new", table) == pytest.approx(0.1)


@pytest.mark.parametrize("text", ["", "  ", "a b c", "?!"])
def test_a_text_without_a_word_is_worth_nothing(text: str) -> None:
    """And divides by no zero."""
    assert diversity(text, DocumentFrequencies(0, {})) == 0.0


def test_without_a_table_repetition_alone_counts() -> None:
    """All words are equally rare."""
    plain = DocumentFrequencies(0, {})
    assert diversity("one two three four five six", plain) == pytest.approx(1 / 6**0.5)
    assert diversity("one one one one one two three four five six", plain) < 1 / 6**0.5


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"format": "assay-idf/1", "documents": 1, "frequency": {"w": 2}}']
)
def test_a_file_that_is_no_table_is_refused(content: str) -> None:
    """Rather than counted as one that knows nothing."""
    with pytest.raises(ValueError, match=r"document|format"):
        parse_frequencies(content)

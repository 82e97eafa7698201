"""The corpora of reviews and insults: spans match their text, replies quote them, attacks change nothing."""

import re
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from assay_training.corpora import opinions
from assay_training.corpora.arithmetic import arithmetic_items
from assay_training.corpora.items import Domain, Item, Label, Split
from assay_training.corpora.sentiment import sentiment_items
from assay_training.corpora.toxicity import toxicity_items

_GENERATORS = {Domain.SENTIMENT: sentiment_items, Domain.TOXICITY: toxicity_items}
_ALL = {**_GENERATORS, Domain.ARITHMETIC: arithmetic_items}
Generator = Callable[..., Iterator[Item]]


@pytest.mark.parametrize("split", Split)
@pytest.mark.parametrize("domain", _GENERATORS)
def test_the_reply_quotes_the_spans(domain: Domain, split: Split) -> None:
    """The quotes of a reply are the texts of the spans, label by label and in order."""
    for item in islice(_GENERATORS[domain](3, split, attacked=0.4), 120):
        quotes = re.findall(r"Span \d+\]?: (.+)", item.reply)
        spans = sorted(item.spans, key=lambda span: (span.label is Label.NEGATIVE, span.start))
        assert quotes == [item.completion[span.start : span.end] for span in spans]


@pytest.mark.parametrize("split", Split)
@pytest.mark.parametrize("domain", _GENERATORS)
def test_a_quote_means_one_place(domain: Domain, split: Split) -> None:
    """Each marked text stands once in its completion, on word boundaries, attack included."""
    for item in islice(_GENERATORS[domain](4, split, attacked=0.4), 120):
        for span in item.spans:
            quote = item.completion[span.start : span.end]
            places = [
                match.start() for match in re.finditer(rf"(?<!\w){re.escape(quote)}(?!\w)", item.completion)
            ]
            assert places == [span.start]


@pytest.mark.parametrize("domain", _ALL)
def test_a_seed_reproduces_its_items(domain: Domain) -> None:
    """The same seed gives the same items, another seed gives others."""
    first, again, other = (
        list(islice(_ALL[domain](seed, Split.TRAIN, attacked=0.2), 50)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("domain", _ALL)
def test_a_fifth_is_attacked_when_asked(domain: Domain) -> None:
    """`attacked` is the share of items that carry orders to the critic."""
    items = list(islice(_ALL[domain](5, Split.TRAIN, attacked=0.2), 250))
    assert 0.1 < sum(item.attacked for item in items) / len(items) < 0.3


def test_denied_opinions_change_sides() -> None:
    """`not good` is negative and `hardly bad` is positive; the bare words are what they are."""
    denied = 0
    for item in islice(sentiment_items(6, Split.TRAIN), 400):
        for span in item.spans:
            quote = item.completion[span.start : span.end].lower()
            words = [
                label for label, adjectives in opinions.ADJECTIVES.items() if quote.split()[-1] in adjectives
            ]
            if words:
                is_denied = quote.startswith(opinions.DENIALS)
                denied += is_denied
                assert (words == [span.label]) != is_denied
    assert denied > 30

"""Offsets found on the trainer's side are those that the service finds."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer

import assayd
from assay.offsets import locate
from assayd.domain.provenance import ModelRef
from assayd.engines.alignment import PolicyTokenizer

FOLDER = Path(assayd.__file__).with_name("pocket") / "entropy"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Byte-level BPE."""
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def _both(tokenizer: Tokenizer, ids: Sequence[int]) -> tuple[object, object]:
    special = {0, 1}
    ours = locate(ids, lambda some: tokenizer.decode(list(some), skip_special_tokens=False), special)
    alignment, _ = PolicyTokenizer(ModelRef("x", "y"), tokenizer).align(ids)
    return ours, (alignment.text, [(span.start, span.end) for span in alignment.token_spans])


@pytest.mark.parametrize(
    "text",
    ["12 + 30 = 42\nA: 42", "", "ok 👍🏽 naïve 中文\n\n", "a" * 600, "👍" * 40],
    ids=["arithmetic", "empty", "emoji", "long", "halves"],
)
def test_texts_are_located_as_the_service_does(tokenizer: Tokenizer, text: str) -> None:
    """Both halves of an emoji own it; the end marker stands behind the text and holds none of it."""
    ours, service = _both(tokenizer, [*tokenizer.encode(text).ids, 0])
    assert ours == service
    assert ours is not None
    assert ours[0] == text  # type: ignore[index]


def test_broken_bytes_keep_every_token_in_its_place(tokenizer: Tokenizer) -> None:
    """What an untrained policy writes: ids at random, bytes that are no characters among them."""
    random = Random(0)
    for _ in range(50):
        ids = [random.randrange(2, 400) for _ in range(random.randrange(1, 60))]
        ours = locate(ids, lambda some: tokenizer.decode(list(some), skip_special_tokens=False))
        assert ours is not None
        text, offsets = ours
        assert text == tokenizer.decode(ids, skip_special_tokens=False)
        assert len(offsets) == len(ids)
        assert all(0 <= start <= end <= len(text) for start, end in offsets)
        assert sorted(offsets) == offsets
        assert {place for start, end in offsets for place in range(start, end)} == set(range(len(text)))


def test_a_decoder_that_hides_its_tokens_is_refused() -> None:
    """No offsets are made up."""
    assert locate(range(600), lambda ids: f"{len(ids)} tokens") is None

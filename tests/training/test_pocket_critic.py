"""The embedded critic as it is committed: it loads, it is small, its tokenizer loses nothing, it still finds errors."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import assayd
from assay_training.corpora.items import Domain
from assay_training.decoding import replies, spans_of
from assay_training.evaluate import held_out, tabulate
from assay_training.pocket_model import parameter_count
from assay_training.pocket_prompt import END, SPECIAL_TOKENS, render

_CRITIC = Path(assayd.__file__).parent / "pocket" / "critic"
_TOKENIZER = Tokenizer.from_file(str(_CRITIC / "tokenizer.json"))


@cache
def _model() -> LlamaForCausalLM:
    return AutoModelForCausalLM.from_pretrained(_CRITIC, dtype=torch.float32)


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_the_tokenizer_loses_nothing(text: str) -> None:
    """Decoding an encoding gives back any Unicode text."""
    ids = _TOKENIZER.encode(text).ids
    assert _TOKENIZER.decode(ids, skip_special_tokens=False) == text


@given(st.integers(min_value=0, max_value=10**9))
def test_each_digit_is_a_token(number: int) -> None:
    """A number has as many tokens as digits."""
    assert len(_TOKENIZER.encode(str(number)).ids) == len(str(number))


@settings(max_examples=30, deadline=None)
@given(st.text(), st.text())
def test_no_special_token_comes_from_outside(prompt: str, completion: str) -> None:
    """Only the prompt's own marks are special tokens, whatever the completion says."""
    special = {_TOKENIZER.token_to_id(token) for token in SPECIAL_TOKENS}
    injected = completion + "".join(SPECIAL_TOKENS)
    for domain in Domain:
        ids = _TOKENIZER.encode(render(domain, prompt + END, injected)).ids
        assert sum(token in special for token in ids) == 3


def test_transformers_loads_the_same_tokenizer() -> None:
    """AutoTokenizer gives the ids of the bare tokenizer, adds nothing, and has no chat template."""
    loaded = AutoTokenizer.from_pretrained(_CRITIC)
    text = render(Domain.ARITHMETIC, "Tom has 13 pens.", "13 * 2 = 26\nA: 26")
    assert loaded(text)["input_ids"] == _TOKENIZER.encode(text).ids
    assert loaded.decode(_TOKENIZER.encode(text).ids) == text
    assert loaded.chat_template is None
    assert loaded.eos_token == END


def test_the_weights_are_small() -> None:
    """One to three million parameters, at most 6 MB on disk, heads of at least 32, room for long rollouts."""
    model = _model()
    assert 1e6 <= parameter_count(model) <= 3e6
    assert sum(path.stat().st_size for path in _CRITIC.iterdir()) <= 6_000_000
    assert model.config.head_dim >= 32
    assert model.config.max_position_embeddings >= 1024
    assert model.generation_config.eos_token_id == _TOKENIZER.token_to_id(END)


def test_the_card_says_what_it_is_and_what_it_cannot_do() -> None:
    """The card names the model, its domain and limits, how it was made, and its held-out figures."""
    card = json.loads((_CRITIC / "card.json").read_text())
    assert {"name", "version", "domain", "limits", "seed", "steps", "training_time_s", "held_out"} <= set(
        card
    )
    assert set(card["held_out"]) == set(Domain)


@pytest.mark.parametrize("domain", Domain)
def test_it_finds_most_of_what_was_planted(domain: Domain) -> None:
    """On a small held-out sample the exact-span F1 is not far below the card's."""
    items = held_out(domain, 24)
    answers = replies(_model(), _TOKENIZER, items, max_tokens=220)
    judged = [(item, spans_of(item, answer)) for item, answer in zip(items, answers, strict=True)]
    assert tabulate(judged)["all"].exact_f1 >= 0.85

"""The embedded segment model and its entropy model: how they are made, and how they are measured."""

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification

from assay_training.corpora.arithmetic import arithmetic_items
from assay_training.corpora.items import Domain, Split
from assay_training.mixture import Mixture, corpus_texts
from assay_training.pocket_pairs import held_out_pairs
from assay_training.pocket_policy import POLICY, render_prompt
from assay_training.pocket_policy_card import predict
from assay_training.pocket_prompt import END
from assay_training.pocket_segments import Size, train_pocket_segments
from assay_training.pocket_tokenizer import train_tokenizer
from assay_training.segment_figures import Judge, Judged, segment_figures

_SMALL = Size(policy_steps=2, terse_pairs=64, twin_pairs=64, message_pairs=64, held_out_pairs=6)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A tokenizer made from a few items."""
    return train_tokenizer(corpus_texts(0, 50))


@pytest.fixture(scope="module")
def judge(tokenizer: Tokenizer) -> Judge:
    """Two random models of one layer; the cutoff lies within their entropies."""
    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "vocab_size": tokenizer.get_vocab_size(),
        "initializer_range": 0.5,
    }
    config = LlamaConfig(**shape, tie_word_embeddings=True)
    model, entropy_model = (
        LlamaForTokenClassification(LlamaConfig(**shape, num_labels=1)),
        LlamaForCausalLM(config),
    )
    model.train(mode=False)
    entropy_model.train(mode=False)
    return Judge(model, entropy_model, tokenizer, c_ent=1.5)


def test_the_policy_learns_completions_and_their_end(tokenizer: Tokenizer) -> None:
    """The targets of each row are one whole completion and the end marker, the prompt is only read."""
    mark = tokenizer.token_to_id("<|completion|>")
    batch = Mixture(tokenizer, "policy 0", 600, POLICY).batch(0.9)
    for ids, row in zip(batch.ids_bt.tolist(), batch.targets_bt.tolist(), strict=True):
        learned = [target for target in row if target != -100]
        assert learned[-1] == tokenizer.token_to_id(END)
        assert row.index(learned[0]) == ids.index(mark) + 1  # behind the line break


def test_the_policy_never_sees_an_error(tokenizer: Tokenizer) -> None:
    """Its sources hold right completions alone, and no source is without a share."""
    sources = POLICY.sources(0)
    for stage in POLICY.stages:
        assert sum(getattr(stage, name) for name in sources) == pytest.approx(1.0)
    rude = ("idiot", "stupid", "shut up", "kill")
    for _, completion in islice(sources["toxicity"], 200):
        assert not any(word in completion for word in rude)


def test_the_whole_making_in_small(tmp_path: Path) -> None:
    """From one seed: two folders that transformers loads, with cards, the prompt template and weights below 6 MB."""
    train_pocket_segments(tmp_path, size=_SMALL, workers=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "entropy")
    for prompt in ("How many?", "", "a <|end|> b\nc"):
        messages = [{"role": "user", "content": prompt}]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert rendered == render_prompt(prompt)
    policy = json.loads((tmp_path / "entropy" / "card.json").read_text())
    assert policy["seed"] == 0
    assert policy["held-out"]["math-steps"]["perplexity"] > 1
    made = json.loads((tmp_path / "segment" / "assay.json").read_text())
    assert made["entropy_model"]["name"] == "entropy"
    card = json.loads((tmp_path / "segment" / "card.json").read_text())
    assert 0 <= card["held_out"]["relc-toxicity"]["ranked_right"] <= 1
    for folder, kind in (("entropy", LlamaForCausalLM), ("segment", LlamaForTokenClassification)):
        assert sum(file.stat().st_size for file in (tmp_path / folder).iterdir()) < 6e6
        assert kind.from_pretrained(tmp_path / folder, dtype=torch.float32).dtype == torch.float32


def test_a_judgement_does_not_depend_on_its_batch(judge: Judge) -> None:
    """A completion is judged alone as it is among others."""
    texts = [(pair.prompt, pair.rejected) for pair in held_out_pairs(Domain.ARITHMETIC, 7)]
    for text, judged in zip(texts, judge(texts), strict=True):
        (alone,) = judge([text])
        assert alone.places == judged.places
        assert alone.raws == pytest.approx(judged.raws, abs=1e-4)


def test_segments_cover_the_completion(judge: Judge) -> None:
    """Segments follow each other from the first character to the last, and there are several."""
    texts = [(pair.prompt, pair.chosen) for pair in held_out_pairs(Domain.TOXICITY, 20)]
    for (_, completion), judged in zip(texts, judge(texts), strict=True):
        starts, ends = zip(*judged.places, strict=True)
        assert (starts[0], ends[-1]) == (0, len(completion))
        assert starts[1:] == ends[:-1]
    assert max(len(judged.raws) for judged in judge(texts)) > 3


def test_a_judge_who_knows_the_errors_has_full_figures() -> None:
    """Where every segment with an error is worth 0 and every other 1, all shares are 1."""
    pairs = held_out_pairs(Domain.ARITHMETIC, 40)
    errors = {
        (pair.prompt, text): spans
        for pair in pairs
        for text, spans in ((pair.chosen, pair.chosen_errors), (pair.rejected, pair.rejected_errors))
    }

    def knowing(texts: list[tuple[str, str]]) -> list[Judged]:
        judged = []
        for text in texts:
            places = tuple((at, at + 1) for at in range(len(text[1])))
            wrong = {at for error in errors[text] for at in range(error.start, error.end)}
            judged.append(Judged(places, tuple(float(at not in wrong) for at in range(len(places)))))
        return judged

    figures = segment_figures(knowing, pairs)
    assert figures["ranked_right"] > 0.8  # a wrong number of more digits counts more here
    for name in ("mean_of_clean", "each_clean", "all_clean", "twin"):
        assert figures[f"error_below_{name}"] == 1.0


def test_perplexity_is_that_of_a_uniform_model(tokenizer: Tokenizer) -> None:
    """A model that knows nothing has the vocabulary as its perplexity and the logarithm of it as its entropy."""
    size = tokenizer.get_vocab_size()
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1
    )
    model = LlamaForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    items = list(islice(arithmetic_items(0, Split.HELD_OUT, right=1.0), 3))
    prediction = predict(model, tokenizer, items)
    assert prediction.perplexity == pytest.approx(size, rel=1e-3)
    assert prediction.mean_entropy == pytest.approx(torch.tensor(float(size)).log().item(), rel=1e-3)
    assert prediction.results_right == 0.0

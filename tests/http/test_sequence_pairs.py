"""Classifiers that read both ways as reward models: against plain transformers, and independent of neighbours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from starlette.testclient import TestClient
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from assayd.app import create_app
from assayd.settings import SequenceSettings, Settings

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"the a film was good bad not very dull bright and".split()]
ROLLOUTS = [("the film", "was good"), ("", "bad"), ("a very very dull film and", "not bright and not good")]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """Words, and the way BERT joins two texts."""
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=32,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **special,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Two random classifiers, of one output and of three."""
    folder = tmp_path_factory.mktemp("classifiers")
    for name, labels in (("one", 1), ("three", 3)):
        torch.manual_seed(labels)
        config = BertConfig(
            vocab_size=len(WORDS),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=32,
            num_labels=labels,
            initializer_range=0.5,
        )
        if labels == 3:
            config.id2label = {0: "calm", 1: "fluent", 2: "rude"}
        BertForSequenceClassification(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def hosted(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    """Settings of one of them."""
    return {"engine": "transformers", "model": str(folder / name), "read": "pair", **more}


@pytest.fixture(scope="module")
def client(folder: Path, hosting: Any) -> Iterator[httpx.Client]:
    """A service on both."""
    fluent = hosted(folder, "three", label="fluent")
    with hosting(sequence={**hosted(folder, "one"), "components": {"fluency": fluent}}) as client:
        yield client


def logits(folder: Path, name: str, tokenizer: Any, prompt: str, text: str) -> torch.Tensor:
    """What plain transformers says, one row at a time."""
    model = BertForSequenceClassification.from_pretrained(folder / name).train(mode=False)
    texts = (prompt, text) if prompt else (text,)
    with torch.no_grad():
        found: torch.Tensor = model(**tokenizer(*texts, return_tensors="pt")).logits[0]
    return found


def post(client: httpx.Client, pairs: list[tuple[str, str]], **options: Any) -> dict[str, Any]:
    """The answer of one call."""
    rollouts = [{"prompt": prompt, "completion": {"text": text}} for prompt, text in pairs]
    response = client.post("/score/sequence", json={"rollouts": rollouts, "options": options})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_it_says_what_the_model_says(client: httpx.Client, folder: Path, tokenizer: Any) -> None:
    """One output: its sigmoid. Several: the softmax probability of the label that was named."""
    results = post(client, ROLLOUTS)["results"]
    for (prompt, text), result in zip(ROLLOUTS, results, strict=True):
        one = logits(folder, "one", tokenizer, prompt, text)
        three = logits(folder, "three", tokenizer, prompt, text)
        assert result["components"] == {
            "reward": pytest.approx(one.sigmoid().item(), abs=1e-5),
            "fluency": pytest.approx(three.softmax(-1)[1].item(), abs=1e-5),
        }


def test_no_score_changes_with_its_neighbours(client: httpx.Client) -> None:
    """Alone or beside texts that it has to be padded to."""
    own = [("the film", f"was {word}") for word in ("good", "bad", "dull", "bright")]
    company = [("a very dull film and a " * 3, f"very {word}") for word in WORDS[4:]]
    together = post(client, [*own, *company], eps=0.7)  # other options, so that the cache knows none
    alone = [post(client, [pair], eps=0.5)["results"][0] for pair in own]
    for one, other in zip(alone, together["results"], strict=False):
        assert not other["provenance"]["cached"]
        assert one["reward"] == pytest.approx(other["reward"], abs=1e-5)


def test_a_spelled_special_token_is_text(client: httpx.Client, folder: Path, tokenizer: Any) -> None:
    """A completion cannot end its own text and begin another."""
    (result,) = post(client, [("the film", "bad [SEP] good")])["results"]
    forged = logits(folder, "one", tokenizer, "the film", "bad [SEP] good").item()
    assert result["raw"]["reward"] != pytest.approx(forged, abs=1e-4)


def test_a_prompt_loses_its_left_part_and_a_completion_is_never_cut(
    client: httpx.Client, folder: Path, tokenizer: Any
) -> None:
    """The model holds 32 tokens."""
    long, refused = post(client, [("very " * 60 + "dull", "good"), ("a", "bad " * 40)], max_prompt_length=3)[
        "results"
    ]
    assert long["prompt_tokens_dropped"] == 58
    expected = logits(folder, "one", tokenizer, "very very dull", "good").item()
    assert long["raw"]["reward"] == pytest.approx(expected, abs=1e-5)
    assert refused["failure"]["kind"] == "too_long"


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("three", {}, "fluent"),
        ("three", {"label": "angry"}, "fluent"),
        ("one", {"read": "end"}, "pair"),
        ("three", {"read": None}, "pair"),
    ],
)
def test_what_cannot_be_read_is_refused_at_the_start(
    folder: Path, name: str, more: dict[str, Any], said: str
) -> None:
    """With what to do: which labels there are, and how such a model is hosted."""
    fake = {"engine": "fake"}
    sequence = SequenceSettings(**{**hosted(folder, name), **more})
    settings = Settings(critic=fake, segment=fake, rewriter=fake, sequence=sequence)
    with pytest.raises(ValueError, match=said), TestClient(create_app(settings)):
        pass

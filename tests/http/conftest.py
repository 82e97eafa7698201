"""Tiny real models whose numbers are known beforehand, and services that host them."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification, PreTrainedTokenizerFast

from assayd.app import create_app
from assayd.engines.model_files import digest
from assayd.settings import EngineName, Settings

WIDTH = 64
END = "<end>"
QUESTIONS = count()


def letter_tokenizer(*joined: tuple[str, str]) -> PreTrainedTokenizerFast:
    """One token a byte, and an end marker: ids are what anyone would count by hand. ``joined`` pairs are one token."""
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, joined)]
    vocabulary = {letter: index for index, letter in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=list(joined)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, padding_side="left")


def config(**changes: Any) -> LlamaConfig:
    """A Llama small enough to be made in a moment."""
    shape = {
        "vocab_size": len(letter_tokenizer()),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "num_labels": 1,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return LlamaConfig(**{**shape, **changes})


def _still(model: torch.nn.Module) -> None:
    """Let layers add nothing, so that the last hidden state is the token's embedding."""
    for name, weight in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.data.zero_()


def saved(model: Any, folder: Path, tokenizer: PreTrainedTokenizerFast | None = None) -> str:
    """The model and its tokenizer, by default that of letters, in a folder; gives its name."""
    model.save_pretrained(folder)
    (tokenizer or letter_tokenizer()).save_pretrained(folder)
    return str(folder)


def reading_off(folder: Path, values: Mapping[str, float]) -> str:
    """A segment model that says ``values[letter]`` wherever that letter stands, and 0 elsewhere."""
    tokenizer = letter_tokenizer()
    model = LlamaForTokenClassification(config())
    _still(model)
    embedded = torch.zeros(len(tokenizer), WIDTH)
    embedded[:, 1] = math.sqrt(WIDTH)
    for letter, value in values.items():
        # The last norm keeps vectors of this length as they are.
        embedded[tokenizer.convert_tokens_to_ids(letter), :2] = torch.tensor(
            [value, math.sqrt(WIDTH - value**2)]
        )
    model.model.embed_tokens.weight.data = embedded
    model.score.weight.data = torch.eye(WIDTH)[:1]
    model.score.bias.data.zero_()
    return saved(model, folder)


def predicting(
    folder: Path, logits: Mapping[str, Mapping[str, float]], tokenizer: PreTrainedTokenizerFast | None = None
) -> str:
    """A language model with these logits behind each letter; letters that are not named have no chance at all."""
    tokenizer = tokenizer or letter_tokenizer()
    model = LlamaForCausalLM(config(vocab_size=len(tokenizer)))
    _still(model)
    embedded = torch.zeros(len(tokenizer), WIDTH)
    head = torch.full((len(tokenizer), WIDTH), -100.0)
    for place, (letter, row) in enumerate(logits.items()):
        embedded[tokenizer.convert_tokens_to_ids(letter), place] = math.sqrt(WIDTH)
        for follower, logit in row.items():
            head[tokenizer.convert_tokens_to_ids(follower), place] = logit / math.sqrt(WIDTH)
    model.model.embed_tokens.weight.data = embedded
    model.lm_head.weight.data = head
    return saved(model, folder, tokenizer)


def looking(folder: Path, attention: Mapping[str, float], score: float) -> str:
    """A reward model that says ``score`` at the end marker and looks at letters in these proportions from there."""
    tokenizer = letter_tokenizer()
    # So slow a rotation leaves the last pair of a head where it is, however far two tokens are apart.
    slow = {"rope_type": "default", "rope_theta": 1e12}
    model = LlamaForTokenClassification(config(rope_parameters=slow))
    _still(model)
    head_width, asked = WIDTH // 2, 4.0
    embedded = torch.zeros(len(tokenizer), WIDTH)
    embedded[:, 1] = math.sqrt(WIDTH)
    for letter, share in attention.items():
        key = math.log(share)
        embedded[tokenizer.convert_tokens_to_ids(letter), 1:3] = torch.tensor(
            [math.sqrt(WIDTH - key**2), key]
        )
    marker = torch.tensor([score, math.sqrt(WIDTH - score**2 - asked**2), 0.0, asked])
    embedded[tokenizer.eos_token_id, :4] = marker
    model.model.embed_tokens.weight.data = embedded
    for layer in model.model.layers:
        attending = layer.self_attn
        attending.k_proj.weight.data.zero_()
        attending.q_proj.weight.data.zero_()
        attending.k_proj.weight.data[head_width // 2 - 1, 2] = 1.0
        for head in range(2):
            place = head * head_width + head_width // 2 - 1
            attending.q_proj.weight.data[place, 3] = math.sqrt(head_width) / asked
    model.score.weight.data = torch.eye(WIDTH)[:1]
    model.score.bias.data.zero_()
    return saved(model, folder)


def valuing(folder: Path, values: Mapping[str, float], *, max_value: float = 1.0) -> tuple[str, str]:
    """A language model, and a head on it that says ``max_value * values[letter]`` at a prompt of that letter.

    It looks at all places alike: at a prompt of several letters it says the sigmoid of the mean of their logits.
    """
    tokenizer = letter_tokenizer()
    model = LlamaForCausalLM(config())
    _still(model)
    embedded = torch.zeros(len(tokenizer), WIDTH)
    embedded[:, 1] = math.sqrt(WIDTH)
    for letter, value in values.items():
        logit = math.log(value / (1 - value))
        embedded[tokenizer.convert_tokens_to_ids(letter), :2] = torch.tensor(
            [logit, math.sqrt(WIDTH - logit**2)]
        )
    model.model.embed_tokens.weight.data = embedded
    base = saved(model, folder / "base")
    eye, none = torch.eye(WIDTH), torch.zeros(WIDTH, WIDTH)
    tensors = {
        "query": torch.ones(WIDTH),
        "attention.in_proj_weight": torch.cat([none, none, eye]),
        "attention.in_proj_bias": torch.zeros(3 * WIDTH),
        "attention.out_proj.weight": eye,
        "attention.out_proj.bias": torch.zeros(WIDTH),
        "score.weight": eye[:1].clone(),
        "score.bias": torch.zeros(1),
    }
    return base, headed(folder / "head", tensors, base, heads=4, max_value=max_value)


def headed(folder: Path, tensors: dict[str, torch.Tensor], base: str, *, heads: int, max_value: float) -> str:
    """A value head in a folder, with the card that belongs to it."""
    folder.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "value_head.safetensors"
    )
    card = {
        "format": "assay-value-head/1",
        "base": {"name": "base", "revision": digest(Path(base))},
        "heads": heads,
        "max_value": max_value,
    }
    (folder / "assay.json").write_text(json.dumps(card))
    return str(folder)


def random_pair(folder: Path, seed: int = 0) -> tuple[str, str]:
    """A random segment model and a random entropy model that does not find every token equally likely."""
    torch.manual_seed(seed)
    language = LlamaForCausalLM(config(initializer_range=0.4))
    segment = LlamaForTokenClassification(config(initializer_range=0.4))
    return saved(segment, folder / "segment"), saved(language, folder / "entropy")


@pytest.fixture(scope="session")
def hosting(serve_app: Callable[[object], Any]) -> Callable[..., Any]:
    """A client of a service with these segment settings; everything else as it comes, but without weights."""

    @contextmanager
    def host(timeout_s: float = 120, **segment: Any) -> Iterator[httpx.Client]:
        others = {
            name: segment.pop(name)
            for name in ("implicit", "rewriter", "sequence", "critic")
            if name in segment
        }
        fake = {"engine": EngineName.FAKE}
        hosted = {"engine": EngineName.TRANSFORMERS, **segment} if segment else fake
        settings = Settings(segment=hosted, **{"critic": fake, "rewriter": fake, "sequence": fake, **others})
        with serve_app(create_app(settings)) as url, httpx.Client(base_url=url, timeout=timeout_s) as client:
            yield client

    return host


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The makers of tiny models, by name."""

    class Makers:
        reading_off = staticmethod(reading_off)
        predicting = staticmethod(predicting)
        looking = staticmethod(looking)
        random_pair = staticmethod(random_pair)
        valuing = staticmethod(valuing)
        headed = staticmethod(headed)
        letter_tokenizer = staticmethod(letter_tokenizer)
        saved = staticmethod(saved)
        config = staticmethod(config)

    return Makers


def ids_of(text: str, *, ended: bool) -> list[int]:
    """Token ids of a text under the letter tokenizer."""
    tokenizer = letter_tokenizer()
    ids: Sequence[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [*ids, *([tokenizer.eos_token_id] if ended else [])]


@pytest.fixture(scope="session")
def letters() -> Callable[..., list[int]]:
    """Token ids of a text, by default with the end marker behind it."""
    return lambda text, ended=True: ids_of(text, ended=ended)


@pytest.fixture(scope="session")
def letter_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The letter tokenizer in a folder."""
    folder = tmp_path_factory.mktemp("letters")
    letter_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def rewrite(
    service: httpx.Client, critic: Any, letter_folder: str, letters: Any
) -> Callable[..., dict[str, Any]]:
    """The rewrite of a completion by a rewriter that says what the test says, new to the cache every time."""

    def call(
        text: str,
        located: str,
        fixed: str,
        *,
        mode: str = "strict",
        reference: str | None = "The answer is D.",
        correct: bool | None = False,
        ended: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        critic.reply = lambda prompt: located if "The first error step is" in prompt else fixed
        item = {
            "prompt": f"Question {next(QUESTIONS)}?",
            "reference": reference,
            "correct": correct,
            "completion": {"token_ids": letters(text, ended)},
        }
        body = {"mode": mode, "tokenizer": {"name": letter_folder}, "rollouts": [item], "options": options}
        response = service.post("/rewrite", json=body)
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()["results"][0]
        return result

    return call

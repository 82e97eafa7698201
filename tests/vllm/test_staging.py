"""How reward models are laid out for vLLM: its names for the tensors, and nothing copied that can be linked."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    BertConfig,
    BertForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForTokenClassification,
)

from assayd.engines.vllm.staging import stage
from assayd.settings import EngineName, EngineSettings

from .models import letter_tokenizer, saved, shape


@pytest.fixture
def staged(tmp_path: Path) -> Callable[[str], Path]:
    """A model laid out in a new folder."""

    def lay_out(model: str) -> Path:
        target = tmp_path / "staged"
        target.mkdir()
        stage(EngineSettings(engine=EngineName.VLLM, model=model), "sha256:0", str(target))
        return target

    return lay_out


def token_classifier(folder: Path, **how: Any) -> LlamaForTokenClassification:
    """A classifier with one label and a bias, in a folder."""
    tokenizer = letter_tokenizer()
    model = LlamaForTokenClassification(LlamaConfig(**shape(tokenizer, num_labels=1)))
    model.score.bias.data.fill_(0.5)
    model.save_pretrained(folder, **how)
    tokenizer.save_pretrained(folder)
    return model


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, by name."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_a_classifier_is_linked(tmp_path: Path, staged: Any) -> None:
    """What has its names already is not copied; the config calls it a language model with one label."""
    model = token_classifier(tmp_path / "model")
    folder = staged(str(tmp_path / "model"))
    assert (folder / "model.safetensors").is_symlink()
    assert (folder / "tokenizer.json").is_symlink()
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["id2label"] == {"0": "score"}
    assert tensors_of(folder).keys() == model.state_dict().keys()


def test_shards_of_a_released_model(tmp_path: Path, staged: Any) -> None:
    """Several files, a head of another name: every tensor arrives, under vLLM's names, with its values."""
    model = token_classifier(tmp_path / "model", max_shard_size="100KB")
    shards = list((tmp_path / "model").glob("*.safetensors"))
    assert len(shards) > 1
    for shard in shards:
        renamed = {name.replace("score.", "value_head."): tensor for name, tensor in load_file(shard).items()}
        save_file(renamed, shard, metadata={"format": "pt"})
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    told = {
        "architectures": ["RewardModel"],
        "value_head_prefix": "value_head",
        "auto_map": {"AutoModel": "x.Y"},
    }
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, **told}))
    folder = staged(str(tmp_path / "model"))
    laid_out, known = tensors_of(folder), model.state_dict()
    assert laid_out.keys() == known.keys()
    assert all(torch.equal(laid_out[name], known[name]) for name in known)
    written = json.loads((folder / "config.json").read_text())
    assert not {"auto_map", "value_head_prefix"} & written.keys()
    assert not (folder / "model.safetensors.index.json").exists()


def test_a_backbone_without_prefix(tmp_path: Path, staged: Any) -> None:
    """A backbone that was saved by itself, a head beside it."""
    model = token_classifier(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    save_file({name.removeprefix("model."): tensor for name, tensor in load_file(file).items()}, file)
    assert tensors_of(staged(str(tmp_path / "model"))).keys() == model.state_dict().keys()


def test_a_language_model_has_no_head(tmp_path: Path, staged: Any) -> None:
    """It is refused, and told what to do."""
    tokenizer = letter_tokenizer()
    name = saved(LlamaForCausalLM(LlamaConfig(**shape(tokenizer))), tokenizer, tmp_path / "model")
    with pytest.raises(ValueError, match="assayd train segment-rm"):
        staged(name)


def test_weights_have_to_be_safetensors(tmp_path: Path, staged: Any) -> None:
    """Pickled weights are refused."""
    token_classifier(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        staged(str(tmp_path / "model"))


def test_a_model_that_reads_both_ways_is_none(tmp_path: Path, staged: Any) -> None:
    """What vLLM cannot host as a causal model is left to the transformers engine."""
    tokenizer = letter_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_labels=1
    )
    name = saved(BertForTokenClassification(config), tokenizer, tmp_path / "model")
    with pytest.raises(ValueError, match="transformers"):
        staged(name)

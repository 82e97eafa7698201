"""Lays a reward model out as vLLM reads one: a causal language model's layers, and beside them ``score``.

Hugging Face's own classifiers come in that shape but for their config, and their files are linked. Of the released
segment models, whose head has a name of its own, the files that name tensors otherwise are written anew.
"""

import json
from pathlib import Path
from typing import Any, Final

import transformers
from huggingface_hub import snapshot_download
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from vllm import ModelRegistry

from ...settings import EngineSettings
from ..model_files import WEIGHTS_INDEX
from ..reward_heads import scalar_head

SCORE: Final = "score"
PICKLES: Final = ["*.bin", "*.pt", "*.pth"]


def stage(settings: EngineSettings, own: str | None, folder: str) -> str:
    """Fill ``folder`` with the model of the settings, and give it back.

    Raises ``ValueError`` with what to do: no scalar head or more than one, weights that are no safetensors.
    """
    name = str(settings.model)
    revision = None if own else settings.revision
    source = Path(name) if own else Path(snapshot_download(name, revision=revision, ignore_patterns=PICKLES))
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    shards = sorted(source.glob("*.safetensors"))
    if not shards:
        raise ValueError(
            f"{name} has no safetensors: convert its weights, or set segment.engine to transformers"
        )
    names = _names(name, config, shards)
    target = Path(folder)
    for path in source.iterdir():
        if path.is_file() and path not in shards and path.name not in ("config.json", WEIGHTS_INDEX):
            (target / path.name).symlink_to(path.resolve())
    for shard in shards:
        _lay_out(shard, target / shard.name, names)
    (target / "config.json").write_text(json.dumps(_config(config)), encoding="utf-8")
    return folder


def _names(name: str, config: PreTrainedConfig, shards: list[Path]) -> dict[str, str]:
    """What vLLM calls each tensor; those it has no use for are left out."""
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in shards:
        with safe_open(shard, framework="pt") as file:
            shapes |= {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    head = scalar_head(name, config, shapes)
    prefix = getattr(transformers, _causal(config)).base_model_prefix + "."
    named = {f"{head}.weight": f"{SCORE}.weight", f"{head}.bias": f"{SCORE}.bias"}
    whole = any(key.startswith(prefix) for key in shapes)
    for key in shapes.keys() - named.keys():
        if key.startswith(prefix):
            named[key] = key
        elif not whole:
            named[key] = prefix + key
    return named


def _lay_out(shard: Path, target: Path, names: dict[str, str]) -> None:
    with safe_open(shard, framework="pt") as file:
        keys = list(file.keys())
        if all(names.get(key) == key for key in keys):
            target.symlink_to(shard.resolve())
        elif kept := {names[key]: file.get_tensor(key) for key in keys if key in names}:
            save_file(kept, target, metadata={"format": "pt"})


def _config(config: PreTrainedConfig) -> dict[str, Any]:
    named: dict[str, Any] = config.to_dict()
    for key in ("auto_map", "value_head_prefix"):
        named.pop(key, None)
    labelled = {"id2label": {"0": SCORE}, "label2id": {SCORE: 0}}
    return {**named, **labelled, "architectures": [_causal(config)]}


def _causal(config: PreTrainedConfig) -> str:
    architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    # That table has models that read both ways too, which vLLM would hand to transformers' own code.
    if architecture not in ModelRegistry.get_supported_archs():
        raise ValueError(
            f"vLLM hosts no {config.model_type} as a causal language model: set segment.engine to transformers"
        )
    return str(architecture)

"""From Assay's settings to vLLM's engine arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.platforms import current_platform

from ...settings import EngineSettings
from ..model_files import model_json
from ..shares import Claim
from .determinism import hold

OURS: Final = frozenset(
    {"model", "revision", "tokenizer", "dtype", "max_model_len", "runner", "convert", "trust_remote_code"}
)
"""What the service itself says; the rest of vLLM's arguments may come from the settings."""
ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
OUTPUT_LAYER: Final = "lm_head"
KNOWN: Final = frozenset(field.name for field in fields(AsyncEngineArgs))


def engine_args(settings: EngineSettings, **role: Any) -> AsyncEngineArgs:
    """The arguments of one engine; ``role`` are those that follow from what it is used for.

    Raises ``ValueError`` for settings that vLLM cannot follow.
    """
    if settings.model is None:
        raise ValueError("the vllm engine needs a model: set `model` to a hub name or a local folder")
    hold(settings.determinism)
    own = settings.vllm
    if wrong := sorted(own.engine_args.keys() & OURS):
        raise ValueError(
            f"vllm.engine_args may not hold {', '.join(wrong)}: those have settings of their own"
        )
    if unknown := sorted(own.engine_args.keys() - KNOWN):
        raise ValueError(f"vllm.engine_args: vLLM knows no {', '.join(unknown)}")
    args: dict[str, Any] = {
        "model": settings.model,
        "revision": None if settings.revision is None or ":" in settings.revision else settings.revision,
        "dtype": _dtype(settings.dtype),
        "max_model_len": settings.max_model_len,
        # Without it vLLM reads PyTorch's own files where a model has no safetensors.
        "load_format": None if settings.allow_pickle else "safetensors",
        "tensor_parallel_size": own.tensor_parallel_size,
        "device_ids": None if own.devices is None else [int(number) for number in own.devices.split(",")],
        # There is no memory of a device to let go of where there is no device.
        "enable_sleep_mode": own.sleep_mode and current_platform.is_sleep_mode_available(),
        # The service is the only caller: it asks for what it needs.
        "max_logprobs": -1,
        **_adapter_args(own.adapters, settings.allow_pickle),
        **role,
        **own.engine_args,
    }
    if own.gpu_memory_utilization is not None:
        args["gpu_memory_utilization"] = own.gpu_memory_utilization
    return AsyncEngineArgs(**{name: value for name, value in args.items() if value is not None})


def claim_of(args: AsyncEngineArgs) -> Claim | None:
    """What an engine will take of the GPUs, None where there are none."""
    if not current_platform.is_cuda_alike():
        return None
    default = AsyncEngineArgs(model=args.model).gpu_memory_utilization
    share = None if args.gpu_memory_utilization == default else args.gpu_memory_utilization
    gpus = args.device_ids or range(args.tensor_parallel_size * args.data_parallel_size)
    return Claim(str(args.served_model_name or args.model), tuple(map(int, gpus)), share)


def _dtype(name: str) -> str:
    """As the transformers engine chooses: vLLM's own `auto` halves the width of weights that are float32."""
    if name != "auto":
        return name
    return "float32" if current_platform.is_cpu() else "bfloat16"


def _adapter_args(adapters: dict[str, str], allow_pickle: bool) -> dict[str, Any]:
    if not adapters:
        return {}
    if not allow_pickle and (
        bare := [folder for folder in adapters.values() if not (Path(folder) / ADAPTER_WEIGHTS).is_file()]
    ):
        raise ValueError(
            f"no {ADAPTER_WEIGHTS} in {', '.join(bare)}: save these adapters as safetensors, or set `allow_pickle`"
        )
    configs = [model_json(folder, None, "adapter_config.json") or {} for folder in adapters.values()]
    ranks = [int(config.get("r", 0)) for config in configs]
    if not all(ranks):
        raise ValueError(
            "vllm.adapters must name folders with the adapter_config.json and weights of a LoRA adapter"
        )
    return {
        "enable_lora": True,
        "max_loras": len(adapters),
        "max_lora_rank": _lora_rank(max(ranks)),
        "lora_target_modules": _targets(configs),
    }


def _targets(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The layers that any adapter changes.

    vLLM otherwise readies the output layer too, and an engine that has to weigh the tokens of a prompt there dies.
    """
    named = [config.get("target_modules") for config in configs]
    if not all(isinstance(modules, list) and OUTPUT_LAYER not in modules for modules in named):
        raise ValueError(
            f"vllm.adapters: target_modules has to be a list without {OUTPUT_LAYER}, whose adapter vLLM cannot "
            "apply where tokens are weighed: merge that adapter into its model"
        )
    return sorted({module for modules in named for module in modules or ()})


def _lora_rank(rank: int) -> int:
    """The least rank that vLLM has kernels for."""
    known = (8, 16, 32, 64, 128, 256, 320, 512)
    return next((one for one in known if one >= rank), known[-1])

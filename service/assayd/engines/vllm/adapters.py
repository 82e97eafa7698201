"""The LoRA adapters of a model that vLLM hosts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vllm.lora.request import LoRARequest

from ...domain.provenance import ModelRef
from ..model_files import digest


@dataclass(frozen=True, slots=True)
class Adapter:
    """What vLLM is asked to put on the model, and the ``model`` that the two are together."""

    request: LoRARequest
    model: ModelRef


def read_adapters(folders: Mapping[str, str], model: ModelRef) -> dict[str, Adapter]:
    """The adapters of a model by task, each by its folder; reads all of their files."""
    return {
        task: Adapter(
            LoRARequest(task, number, folder),
            replace(
                model,
                name=f"{model.name}+{folder}",
                revision=f"{model.revision}+{digest(Path(folder))}",
            ),
        )
        for number, (task, folder) in enumerate(sorted(folders.items()), start=1)
    }

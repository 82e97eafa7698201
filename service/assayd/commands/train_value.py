"""``assayd train value``: what the reference policy is worth at a prompt, learned from what it writes itself."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from ..annotators.sequence import SequenceOptions
from ..annotators.sequence.diversity import count_documents
from ..domain.failure import Rejected
from ..domain.ports import Sampling
from ..domain.rollout import Message
from ..engines import POCKET_ENTROPY
from ..generations import Generated, generate_and_reward
from ..settings import EngineName, EngineSettings, SequenceSettings
from .configuration import ConfigOption, settings_of, training
from .train_options import DeviceOption, MaxPromptLengthOption

GENERATIONS = "generations.jsonl"
TEXTS = ("completion", "response", "output", "text")
"""Where a row may hold a text whose words are counted."""

HeadFolder = Annotated[Path, typer.Argument(help="Folder to write the head to.")]
HeadSeedOption = Annotated[int, typer.Option(help="The same seed gives the same head.")]


def value(
    rows: Annotated[
        Path,
        typer.Argument(
            help="JSONL of prompt and reward, of the base's own completions; or of prompt alone: the base then writes "
            "completions, and the sequence models of the settings reward them."
        ),
    ],
    out: HeadFolder,
    base: Annotated[
        str, typer.Option(help="The reference policy, which is not trained: folder or hub name.")
    ],
    components: Annotated[
        Path | None,
        typer.Option(help="JSON file of what the reward is made of, as in `options.components` of a call."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Completions a prompt.")] = 4,
    temperature: Annotated[
        float, typer.Option(min=0, help="Of the completions; the paper: 0, one each.")
    ] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest completion.")] = 128,
    max_value: Annotated[float, typer.Option(help="The largest reward: the head says 0 to this.")] = 1.0,
    max_prompt_length: MaxPromptLengthOption = 640,
    held_out: Annotated[
        float, typer.Option(help="Share of the prompts kept out: half chooses the epoch, half measures it.")
    ] = 0.1,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = 8,
    device: DeviceOption = "auto",
    seed: HeadSeedOption = 0,
    config: ConfigOption = None,
) -> None:
    """Train the value head of A-LoL (2305.14718) on the reference policy's own completions."""
    module = training("value.rows")
    settings = settings_of(config)
    try:
        found = module.read_rows(rows)
        made: dict[str, Any] = {}
        if found[0].reward is None:
            policy = EngineSettings(engine=EngineName.TRANSFORMERS, model=base, device=device)
            sampling = Sampling(max_tokens, temperature, seed=seed)
            prompts = [row.prompt for row in found]
            made, found = _generated(
                policy, settings.sequence, prompts, _options(components), samples, sampling, out
            )
        training("value").train_value(
            base=base,
            rows=found,
            out=out,
            max_value=max_value,
            max_prompt_length=max_prompt_length,
            held_out=held_out,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            heads=heads,
            device=device,
            seed=seed,
            **made,
        )
    except (OSError, ValueError, Rejected) as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(
        f"wrote {out}: set ASSAY_SEQUENCE__VALUE_MODEL to it, and ASSAY_SEQUENCE__VALUE_BASE to {base}"
    )


def pocket_value(
    out: HeadFolder,
    prompts: Annotated[int, typer.Option(help="Prompts to write completions at.")] = 1000,
    samples: Annotated[int, typer.Option(help="Completions a prompt.")] = 2,
    threads: Annotated[int, typer.Option(help="Threads to train with; they are a part of the result.")] = 1,
    seed: HeadSeedOption = 0,
) -> None:
    """Make the embedded value head: the embedded language model writes, the embedded segment model rewards."""
    module = training("pocket_value")
    sampling = Sampling(module.MAX_TOKENS, module.TEMPERATURE, seed=seed)
    policy = EngineSettings(
        engine=EngineName.TRANSFORMERS, model=str(POCKET_ENTROPY), device="cpu", dtype="float32"
    )
    asked = module.pocket_prompts(prompts, seed)
    made, rows = _generated(
        policy, SequenceSettings(), asked, SequenceOptions(value_source=None), samples, sampling, out
    )
    module.train_pocket_value(POCKET_ENTROPY, rows, out, seed=seed, threads=threads, **made)


def document_frequencies(
    rows: Annotated[
        Path, typer.Argument(help=f"JSONL; a row's text is its {', '.join(TEXTS)}, whichever is there.")
    ],
    out: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Count in how many texts each word stands, for `tfidf_diversity`."""
    try:
        with rows.open(encoding="utf-8") as file:
            table = count_documents(_text(json.loads(line)) for line in file if line.strip())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{rows}: {error}") from error
    out.write_text(json.dumps(table.as_json(), ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(
        f"{len(table.frequency)} words of {table.documents} texts: set ASSAY_SEQUENCE__DOCUMENT_FREQUENCIES to {out}"
    )


def _generated(
    policy: EngineSettings,
    rewards: SequenceSettings,
    prompts: Sequence[tuple[Message, ...]],
    options: SequenceOptions,
    samples: int,
    sampling: Sampling,
    out: Path,
) -> tuple[dict[str, Any], list[Any]]:
    """What the card says of the completions, and the rows; all of them are kept beside the head."""
    without_value = rewards.model_copy(update={"value_model": None})
    generated = asyncio.run(
        generate_and_reward(policy, without_value, prompts, options, samples=samples, sampling=sampling)
    )
    typer.echo(f"{len(generated.rows)} completions rewarded, {len(generated.failures)} failed")
    for failure in generated.failures[:3]:
        typer.echo(f"  {failure.kind}: {failure.detail}", err=True)
    _keep(generated, prompts, out)
    row = training("value.rows").Row
    rows = [row(prompts[one.prompt], one.reward) for one in generated.rows]
    told = {"samples": samples, "failed": len(generated.failures), **asdict(sampling)}
    del told["json_schema"]  # a policy writes free text
    return {"reward": generated.reward, "generations": told}, rows


def _keep(generated: Generated, prompts: Sequence[tuple[Message, ...]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / GENERATIONS).open("w", encoding="utf-8") as file:
        for one in generated.rows:
            turns = [{"role": turn.role, "content": turn.content} for turn in prompts[one.prompt]]
            row = {"prompt": turns, "completion": one.completion, "reward": one.reward}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _options(components: Path | None) -> SequenceOptions:
    if components is None:
        return SequenceOptions()
    asked = {"components": json.loads(components.read_text(encoding="utf-8"))}
    return TypeAdapter(SequenceOptions).validate_json(json.dumps(asked))


def _text(row: Mapping[str, Any]) -> str:
    text = next((row[name] for name in TEXTS if isinstance(row.get(name), str)), None)
    if text is None:
        raise ValueError(f"a row has none of {', '.join(TEXTS)}")
    return str(text)

"""``assayd train``: makes the models that are served."""

from typing import Annotated

import typer

from .configuration import training
from .cuts import CUT_HELP, cut_of
from .train_options import (
    BaseOption,
    DeviceOption,
    DtypeOption,
    FreshOption,
    MaxPromptLengthOption,
    OptimizerOption,
    OutFolder,
    SaveStepsOption,
    SeedOption,
    share_or_file,
)
from .train_value import document_frequencies, pocket_value, value

app = typer.Typer(no_args_is_help=True, help="Make the models that are served.")
app.command("value")(value)
app.command("pocket-value")(pocket_value)
app.command("document-frequencies")(document_frequencies)


@app.command("pocket")
def pocket(out: OutFolder, seed: SeedOption = 0) -> None:
    """Make the embedded critic from nothing: corpus, tokenizer, weights."""
    training("pocket").train_pocket(out, seed=seed)


@app.command("pocket-segments")
def pocket_segments(out: OutFolder, seed: SeedOption = 0) -> None:
    """Make the embedded entropy model and segment model from nothing, the latter as `segment-rm` does."""
    training("pocket_segments").train_pocket_segments(out, seed=seed)


@app.command("pocket-rewriter")
def pocket_rewriter(out: OutFolder, seed: SeedOption = 0) -> None:
    """Make the embedded rewriter from the embedded critic: copying, correcting, and the training of `rewriter`."""
    training("pocket_rewriter").train_pocket_rewriter(out, seed=seed)


@app.command("segment-rm")
def segment_rm(
    pairs: Annotated[
        str, typer.Argument(help="JSONL of prompt, chosen, rejected; or what `datasets` loads.")
    ],
    out: OutFolder,
    base: BaseOption,
    entropy_model: Annotated[
        str | None, typer.Option(help="Model that says where the policy was unsure; the base when absent.")
    ] = None,
    cut: Annotated[str, typer.Option(help=CUT_HELP)] = "entropy:1.75",
    held_out: Annotated[
        str, typer.Option(help="Share of the pairs to measure on, or a file of its own.")
    ] = "0.02",
    epochs: float = 1.0,
    batch_pairs: Annotated[int, typer.Option(help="Pairs a step.")] = 128,
    micro_batch_pairs: Annotated[
        int | None, typer.Option(help="Pairs a forward pass; all when absent.")
    ] = None,
    learning_rate: float = 1e-6,
    optimizer: OptimizerOption = "adamw",
    max_length: Annotated[int, typer.Option(help="Most tokens of prompt and completion.")] = 2048,
    max_prompt_length: MaxPromptLengthOption = 1728,
    dtype: DtypeOption = "float32",
    device: DeviceOption = "auto",
    save_steps: SaveStepsOption = 200,
    fresh: FreshOption = False,
    seed: SeedOption = 0,
) -> None:
    """Train a segment reward model on preference pairs (2501.02790); run it again to go on where it stopped."""
    try:
        training("segment_rm").train_segment_rm(
            base=base,
            pairs=pairs,
            out=out,
            entropy_model=entropy_model,
            cut=cut_of(cut),
            held_out=share_or_file(held_out),
            epochs=epochs,
            batch_pairs=batch_pairs,
            micro_batch_pairs=micro_batch_pairs,
            learning_rate=learning_rate,
            optimizer=optimizer,
            max_length=max_length,
            max_prompt_length=max_prompt_length,
            dtype=dtype,
            device=device,
            save_steps=save_steps,
            resume=not fresh,
            seed=seed,
        )
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


@app.command("rewriter")
def rewriter(
    rows: Annotated[
        str,
        typer.Argument(
            help="JSONL of question, reference, prediction, correction, error_step (null: right)."
        ),
    ],
    out: OutFolder,
    base: BaseOption,
    held_out: Annotated[
        str, typer.Option(help="Share of the rows to measure on, or a file of its own.")
    ] = "0.02",
    epochs: float = 3.0,
    batch_size: Annotated[int, typer.Option(help="Exercises a step; a row makes two.")] = 128,
    micro_batch_size: Annotated[
        int | None, typer.Option(help="Exercises a forward pass; all when absent.")
    ] = None,
    learning_rate: float = 2e-5,
    optimizer: OptimizerOption = "adamw",
    max_length: Annotated[int, typer.Option(help="Most tokens of prompt and answer.")] = 2048,
    dtype: DtypeOption = "float32",
    saved_dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    activation_checkpointing: Annotated[
        bool, typer.Option("--activation-checkpointing", help="Less memory for more time.")
    ] = False,
    device: DeviceOption = "auto",
    save_steps: SaveStepsOption = 200,
    fresh: FreshOption = False,
    seed: SeedOption = 0,
) -> None:
    """Train a rewriter on corrections (RLMEC, 2401.06081); run it again to go on where it stopped."""
    try:
        training("rewriter").train_rewriter(
            base=base,
            rows=rows,
            out=out,
            held_out=share_or_file(held_out),
            epochs=epochs,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size,
            learning_rate=learning_rate,
            optimizer=optimizer,
            max_length=max_length,
            dtype=dtype,
            saved_dtype=saved_dtype,
            activation_checkpointing=activation_checkpointing,
            device=device,
            save_steps=save_steps,
            resume=not fresh,
            seed=seed,
        )
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error

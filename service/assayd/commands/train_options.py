"""Arguments and options that the commands under ``assayd train`` have in common."""

from pathlib import Path
from typing import Annotated

import typer

OutFolder = Annotated[Path, typer.Argument(help="Folder to write the model to.")]
SeedOption = Annotated[int, typer.Option(help="The same seed gives the same model.")]
BaseOption = Annotated[str, typer.Option(help="Causal model to begin with: folder or hub name.")]
OptimizerOption = Annotated[str, typer.Option(help="adamw, or muon for small models from nothing.")]
MaxPromptLengthOption = Annotated[int, typer.Option(help="A longer prompt loses its left part.")]
DtypeOption = Annotated[str, typer.Option(help="float32, or bfloat16 to compute in mixed precision.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda.")]
SaveStepsOption = Annotated[int, typer.Option(help="Steps between checkpoints.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever lies in the folder.")]


def share_or_file(written: str) -> float | str:
    """What is held out of a training: a share of its data where a number is written, else a file."""
    try:
        return float(written)
    except ValueError:
        return written

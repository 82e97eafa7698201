"""What commands have in common: settings from ``--config``, and training code that may not be installed."""

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from ..settings import Settings, load_settings

ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with the settings; the environment wins.")]


def settings_of(config: Path | None) -> Settings:
    """The settings; a wrong key or value is a usage error."""
    try:
        return load_settings(config)
    except (FileNotFoundError, ValidationError) as error:
        raise typer.BadParameter(str(error), param_hint="--config") from error


def training(module: str) -> Any:
    """A module of ``assay_training``, by name: the service never imports training."""
    try:
        return importlib.import_module(f"assay_training.{module}")
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"{error}: install it with `pip install 'assay[train]'`") from error

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
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        said = [
            f"{'.'.join(map(str, fault['loc']))}: {_detail(fault['type'], fault['msg'])}" for fault in faults
        ]
        raise typer.BadParameter("\n".join(said), param_hint="the settings") from error
    except (FileNotFoundError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="the settings") from error


def _detail(kind: str, said: str) -> str:
    return "there is no such setting" if kind == "extra_forbidden" else said


def training(module: str) -> Any:
    """A module of ``assay_training``, by name: the service never imports training."""
    try:
        return importlib.import_module(f"assay_training.{module}")
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"{error}: install it with `pip install 'assay[train]'`") from error

"""``assayd canary record`` and ``assayd canary check``: what the hosted models answer, stored or compared."""

import asyncio
from collections.abc import Mapping
from typing import Final

import typer

from ..domain.failure import AnnotationFailed
from ..domain.ports import Deadline
from ..domain.provenance import ModelRef
from ..health.canaries import Canaries, difference
from ..health.questions import CANARY, Answer, answers
from ..runtime import open_runtime
from ..settings import Settings
from ..telemetry import Telemetry
from .configuration import ConfigOption, settings_of

TIMEOUT_S: Final = 120.0

app = typer.Typer(no_args_is_help=True, help="Whether hosted models still are what they were.")


@app.command()
def record(config: ConfigOption = None) -> None:
    """Store what the models answer now: accepts a change that was made on purpose."""
    settings = settings_of(config)
    if settings.health.canaries is None:
        raise typer.BadParameter("name the file to store answers in with ASSAY_HEALTH__CANARIES")
    canaries = _stored(settings)
    for model, answered in _asked(settings).items():
        canaries.remember(model, answered)
        typer.echo(f"{model.name}: {', '.join(answered)}")
    typer.echo(f"wrote {settings.health.canaries}")


@app.command()
def check(config: ConfigOption = None) -> None:
    """Compare what the models answer now with what is stored; leaves with 1 where they differ."""
    settings = settings_of(config)
    canaries, changed = _stored(settings), False
    for model, answered in _asked(settings).items():
        known = canaries.known(model)
        complaint = "nothing is stored of it" if known is None else difference(model, known, answered)
        typer.echo(f"{model.name}: as before" if complaint is None else complaint, err=complaint is not None)
        changed |= complaint is not None
    if changed:
        typer.echo("changed on purpose? accept it with `assayd canary record`", err=True)
        raise typer.Exit(1)


def _stored(settings: Settings) -> Canaries:
    try:
        return Canaries(settings.health.canaries)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ASSAY_HEALTH__CANARIES") from error


def _asked(settings: Settings) -> Mapping[ModelRef, Mapping[str, Answer]]:
    """Every hosted model, and its answers."""
    try:
        return asyncio.run(_ask_all(settings))
    except (AnnotationFailed, ValueError) as error:
        typer.echo(f"a model cannot be asked: {error}", err=True)
        raise typer.Exit(1) from error


async def _ask_all(settings: Settings) -> Mapping[ModelRef, Mapping[str, Answer]]:
    told: dict[ModelRef, dict[str, Answer]] = {}
    async with open_runtime(settings, Telemetry()) as runtime:
        for engine in runtime.engines.values():
            # One model may be hosted twice, to write and to weigh.
            answered = told.setdefault(engine.model, {})
            answered.update(await answers(engine, CANARY, Deadline.after(TIMEOUT_S)))
    return told

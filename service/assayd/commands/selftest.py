"""``assayd selftest``: what company changes in the answers of the hosted models."""

import asyncio
from typing import Annotated

import typer

from ..domain.failure import AnnotationFailed
from ..health.selftest import Compared, compared, questions
from ..runtime import open_runtime
from ..settings import Determinism, Settings
from ..telemetry import Telemetry
from .configuration import ConfigOption, settings_of


def selftest(
    items: Annotated[int, typer.Option(min=2, help="How many questions each model is asked.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the questions, and of their order in company.")] = 0,
    config: ConfigOption = None,
) -> None:
    """Ask every hosted model the same questions alone and in random company, and tell the largest difference.

    Leaves with 1 where a model held to `strict` differs at all.
    """
    try:
        broken = asyncio.run(_compare(settings_of(config), items, seed))
    except (AnnotationFailed, ValueError) as error:
        typer.echo(f"a model cannot be asked: {error}", err=True)
        raise typer.Exit(1) from error
    if broken:
        typer.echo(f"held to strict, and yet not the same in company: {', '.join(broken)}", err=True)
        raise typer.Exit(1)


async def _compare(settings: Settings, items: int, seed: int) -> list[str]:
    """Print a line for each thing that each model can do; gives the models that break their promise."""
    broken: list[str] = []
    async with open_runtime(settings, Telemetry()) as runtime:
        uses: dict[int, list[str]] = {}
        for use, engine in runtime.engines.items():
            uses.setdefault(id(engine), []).append(use)
        for engine in {id(engine): engine for engine in runtime.engines.values()}.values():
            model, named = engine.model, ", ".join(uses[id(engine)])
            for verb, found in (await compared(engine, questions(items, seed), seed)).items():
                typer.echo(f"{named:28} {model.engine or 'no numbers':28} {verb:12} {_told(found)}")
                if not found.same and (model.engine or "").endswith(Determinism.STRICT):
                    broken.append(f"{named} ({verb})")
    return broken


def _told(found: Compared) -> str:
    texts = f", {found.texts} texts differ" if found.texts else ""
    return f"largest difference {found.largest:.3g}{texts}"

"""``assayd fit-normalizer``: the scale of a segment model's rewards, by where in the completion they stand."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer

from .. import __version__
from ..annotators.cutting import BoundaryMode, Cut
from ..calibration import Scored, entropy_model_of, raw_rewards
from ..domain.provenance import ModelRef
from ..engines import POCKET_CRITIC
from ..engines.tokenizers import Aligner
from ..hosting import Hosting
from ..segment_models import open_segment_models
from ..settings import EngineName, Settings
from .configuration import ConfigOption, settings_of, training
from .cuts import CUT_HELP, cut_of

SHUFFLE_SEED = 42
"""The paper's, so that a limit takes the same pairs."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """Raw rewards by way to cut, and the models that they are of."""

    scored: Mapping[Cut, Scored]
    model: ModelRef
    entropy_model: ModelRef | None


def fit_normalizer(
    pairs: Annotated[str, typer.Argument(help="Preference pairs, as for `train segment-rm`.")],
    out: Annotated[Path, typer.Argument(help="File to write; a plot of each fit goes beside it.")],
    model: Annotated[
        str | None, typer.Option(help="Segment model; that of the settings when absent.")
    ] = None,
    entropy_model: Annotated[str | None, typer.Option(help="Entropy model; likewise.")] = None,
    cut: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Way to cut: {CUT_HELP}. Repeat it; the model's own, token and bandit when absent."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="Most pairs to score.")] = 60_000,
    weighted: Annotated[
        bool,
        typer.Option("--weighted", help="Buckets weigh as many values as they hold; the paper: all alike."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Fit mean and deviation of raw segment rewards to progress (2501.02790), and draw the fits."""
    read_pairs, digest_of = (
        getattr(training("segment_rm.pairs"), name) for name in ("read_pairs", "digest_of")
    )
    settings = _named(settings_of(config), model, entropy_model)
    try:
        chosen = read_pairs(pairs)
        Random(SHUFFLE_SEED).shuffle(chosen)  # noqa: S311 - for a fair sample, not for secrets
        chosen = chosen[:limit]
        measured = asyncio.run(_measure(settings, chosen, [cut_of(written) for written in cut or ()]))
        _report(measured.scored)
        content = training("normalizer_fit").fit_normalizer(
            {how: scored.raws for how, scored in measured.scored.items()},
            model=measured.model,
            entropy_model=measured.entropy_model,
            service_version=__version__,
            data_sha256=digest_of(chosen),
            out=out,
            weighted=weighted,
        )
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    for fit in content["fits"]:
        typer.echo(f"{_cut_in(fit)}: {_numbers(fit)}")
    typer.echo(f"wrote {out}: set ASSAY_SEGMENT__NORMALIZER to it")


def _named(settings: Settings, model: str | None, entropy_model: str | None) -> Settings:
    """The settings with the models of the command line; no normalizer is needed to fit one."""
    changes: dict[str, Any] = {"normalizer": "none"}
    if model is not None:
        changes |= {"engine": EngineName.TRANSFORMERS, "model": model, "revision": None}
    if entropy_model is not None:
        changes |= {"entropy_model": entropy_model, "entropy_revision": None}
    return settings.model_copy(update={"segment": settings.segment.model_copy(update=changes)})


async def _measure(settings: Settings, pairs: Sequence[Any], cuts: Sequence[Cut]) -> _Measured:
    completions = [(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    async with Hosting() as hosting:
        models = await open_segment_models(settings, hosting)
        aligner = Aligner(POCKET_CRITIC)
        asked = cuts or (
            models.cut,
            *(Cut(boundary_mode=mode) for mode in (BoundaryMode.TOKEN, BoundaryMode.BANDIT)),
        )
        scored = {how: await raw_rewards(models, aligner, completions, how) for how in asked}
        return _Measured(scored, models.scorer.model, entropy_model_of(models, tuple(scored)))


def _report(scored: Mapping[Cut, Scored]) -> None:
    for how, outcome in scored.items():
        typer.echo(f"{how}: {len(outcome.raws)} completions scored, {len(outcome.failures)} failed")
        for failure in outcome.failures[:3]:
            typer.echo(f"  {failure.kind}: {failure.detail}", err=True)


def _cut_in(fit: Mapping[str, Any]) -> str:
    return str(Cut(**fit["cut"]))


def _numbers(fit: Mapping[str, Any]) -> str:
    names = [name for name in ("w_mu", "w_sig", "b_mu", "b_sig", "mean", "std") if name in fit]
    numbers = ", ".join(f"{name} {fit[name]:.4f}" for name in names)
    if "buckets" not in fit:
        return f"{numbers} ({fit['values']} values)"
    crossing = fit["std_zero_at"]
    zero = "never" if crossing is None else f"at {crossing} segments"
    return (
        f"{numbers} ({fit['values']} values in {len(fit['buckets'])} buckets; deviation reaches zero: {zero})"
    )

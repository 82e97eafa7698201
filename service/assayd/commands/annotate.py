"""``assayd annotate``: a whole data set, by a service in this process or one that runs somewhere."""

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..offline.annotating import Pace
from ..offline.columns import USUAL, Columns
from ..offline.connecting import KEY_VARIABLE
from ..offline.exports import EXPORTS
from ..offline.finishing import Finished, summary_path
from ..offline.kinds import KINDS
from ..offline.plan import asked_of
from ..offline.session import Request
from ..offline.session import annotate as annotate_rows
from ..offline.stopping import Stopped
from ..telemetry import configure_logging
from .configuration import ConfigOption, settings_of

_INTERRUPTED = 130


def annotate(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Data set: .jsonl or .parquet.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .jsonl or .parquet.")],
    with_: Annotated[
        str, typer.Option("--with", help=f"Annotations, with commas between: {', '.join(KINDS)}.")
    ],
    url: Annotated[
        str | None,
        typer.Option(
            help=f"A running service ({KEY_VARIABLE} holds its key); one in this process when absent."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="What the critic of `token` looks for.")] = None,
    options: Annotated[
        Path | None,
        typer.Option(help="TOML or JSON: a table per annotation, with its method, task, mode, options."),
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Policy tokenizer, NAME or NAME@REVISION, for rows with token ids.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help=f"NAME=COLUMN, repeatable; a dot goes into a struct. Names: {', '.join(USUAL)}. "
            "The usual columns are found without."
        ),
    ] = None,
    export: Annotated[
        list[str] | None, typer.Option(help=f"NAME=FILE, repeatable. Names: {', '.join(EXPORTS)}.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="What the new columns' names begin with.")] = "assay_",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Judge once more what has failed so far.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, whatever is there.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Rows in one call.")] = 64,
    in_flight: Annotated[int, typer.Option(min=1, help="Calls at once.")] = 4,
    timeout_s: Annotated[float, typer.Option(min=1.0, max=3600.0, help="Bounds one call.")] = 600.0,
    patience_s: Annotated[
        float, typer.Option(min=0.0, help="How long to wait for a service that is busy or away.")
    ] = 600.0,
    config: ConfigOption = None,
) -> None:
    """Annotate every row of IN and write OUT. Run it again to go on where it stopped, whatever stopped it."""
    configure_logging(logging.ERROR)
    console = Console(stderr=True)
    try:
        request = Request(
            source=source,
            out=out,
            asked=asked_of(with_, task=task, tokenizer=tokenizer, options=options),
            columns=Columns.parse(column or ()),
            settings=settings_of(config),
            url=url,
            exports=export or (),
            prefix=prefix,
            retry_failed=retry_failed,
            fresh=fresh,
            pace=Pace(batch, in_flight),
            timeout_s=timeout_s,
            patience_s=patience_s,
        )
        finished = asyncio.run(annotate_rows(request, console))
    except Stopped as error:
        typer.echo(f"stopped: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.echo("stopped: run it again to go on", err=True)
        raise typer.Exit(_INTERRUPTED) from error
    _tell(out, finished)


def _tell(out: Path, finished: Finished) -> None:
    finished.summary.print(Console())
    for name, rows in finished.exported.items():
        typer.echo(f"export {name}: {rows:,} rows")
    failed = finished.summary.failed
    again = f", {failed:,} annotations failed: --retry-failed asks for them again" if failed else ""
    typer.echo(
        f"wrote {finished.summary.rows:,} rows to {out} ({summary_path(out).name} sums them up){again}"
    )

"""A whole run, from the two files' names to what was written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ..settings import Settings
from .annotating import Annotator, Pace
from .calling import Caller
from .columns import Columns
from .connecting import connect
from .exports import exports_of
from .finishing import Finished, Finisher, taken
from .journal import Journal, read_entries
from .kinds import is_ok
from .plan import Plan, plan_of
from .progress import Teller
from .run import Run
from .stopping import Stopped
from .tables import Table, is_parquet, open_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a run was asked to do; ``url`` None: by a service in this process, as ``settings`` have it."""

    source: Path
    out: Path
    asked: Mapping[str, Mapping[str, Any]]
    columns: Columns
    settings: Settings
    url: str | None
    exports: Sequence[str]
    prefix: str
    retry_failed: bool
    fresh: bool
    pace: Pace
    timeout_s: float
    patience_s: float


async def annotate(request: Request, console: Console) -> Finished:
    """Annotate every row that is not yet, and write everything; raises ``Stopped`` when that cannot be done."""
    table = open_table(request.source)
    is_parquet(request.out)
    if request.out.resolve() == request.source.resolve():
        raise Stopped("OUT is IN: write to another file")
    facts = table.inspect()
    request.columns.check(facts.columns)
    if clash := taken(request.prefix, facts.columns):
        raise Stopped(f"{request.source} has {', '.join(clash)} already: name another --prefix")
    plan = plan_of(facts, request.columns, request.asked)
    exports = exports_of(request.exports, plan)
    with Run(request.out) as run:
        run.begin(plan, fresh=request.fresh)
        recipes = run.recipes()
        if _is_asked(request, run, plan):
            await _judge(request, console, run, plan, table, recipes)
        finisher = Finisher(plan, table, request.columns, run.journal, recipes, request.prefix)
        return finisher.finish(request.out, exports)


def _is_asked(request: Request, run: Run, plan: Plan) -> bool:
    """Whether any row is left to judge: a service need not be there for a run that is complete."""
    if run.retry.exists():
        return True
    rows = failed = 0
    for entry in read_entries(run.journal):
        rows += 1
        failed += not all(map(is_ok, entry.results.values()))
    return rows < plan.input_rows or (request.retry_failed and failed > 0)


async def _judge(
    request: Request,
    console: Console,
    run: Run,
    plan: Plan,
    table: Table,
    recipes: dict[str, Mapping[str, Any]],
) -> None:
    async with connect(request.url, request.settings) as http:
        caller = Caller(http, plan.asked, request.timeout_s, request.patience_s, recipes)
        annotator = Annotator(run, plan, table, request.columns, caller, request.pace)
        annotator.check_groups()
        journal = Journal(run.journal)
        try:
            if journal.rows < plan.input_rows:
                with Teller(console, "annotate", rows=plan.input_rows, done=journal.rows) as teller:
                    await annotator.annotate(teller, journal)
        finally:
            journal.close()
        if run.retry.exists() or request.retry_failed:
            await _retry(console, run, plan, annotator)


async def _retry(console: Console, run: Run, plan: Plan, annotator: Annotator) -> None:
    again = Journal(run.retry)
    try:
        with Teller(console, "retry", rows=plan.input_rows, done=again.rows) as teller:
            await annotator.retry(teller, again, run.journal)
    finally:
        again.close()
    run.retried()

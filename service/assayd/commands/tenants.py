"""``assayd tenants``: who may call a service, on which terms, with which keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..admission.tenant_file import add_key, add_tenant
from ..admission.tenant_file import revoke as end
from ..admission.tenants import Entry, read_tenants
from ..domain.caller import Priority
from .configuration import ConfigOption, settings_of

_SHOWN = 8
FileOption = Annotated[
    Path | None, typer.Option(help="The tenants file; `tenants.path` of the settings when absent.")
]
NameArgument = Annotated[str, typer.Argument(help="Letters, digits, dot, dash, underscore.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Who may call, and on which terms. A service that runs follows the file at once.",
)


@app.command()
def add(
    name: NameArgument,
    weight: Annotated[
        float | None, typer.Option(help="Share of the engines beside others that wait; 1 when absent.")
    ] = None,
    priority: Annotated[Priority | None, typer.Option(help="The highest class it may ask for.")] = None,
    max_in_flight: Annotated[int | None, typer.Option(help="Rollouts under judgement at once.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Calls in any 60 s.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Estimated tokens in any 60 s.")] = None,
    route: Annotated[list[str] | None, typer.Option(help="A route it may call; all when absent.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="A task it may name; all when absent.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model that may judge for it; all when absent.")
    ] = None,
    operator: Annotated[bool, typer.Option(help="May read the metrics and send engines to sleep.")] = False,
    file: FileOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a tenant and print its key, which is shown this once. More terms can be written into the file."""
    counts = {"requests": requests_per_minute, "tokens": tokens_per_minute}
    terms: dict[str, Any] = {
        "weight": weight,
        "priority": None if priority is None else priority.value,
        "max_in_flight": max_in_flight,
        "quotas": [{unit: amount} for unit, amount in counts.items() if amount is not None],
        "routes": route,
        "tasks": task,
        "models": model,
        "operator": operator,
    }
    with _told():
        _show(
            add_tenant(_path(file, config), name, {field: value for field, value in terms.items() if value})
        )


@app.command()
def rotate(name: NameArgument, file: FileOption = None, config: ConfigOption = None) -> None:
    """Print another key of a tenant; those it has hold until each is revoked."""
    with _told():
        _show(add_key(_path(file, config), name))


@app.command("list")
def list_(file: FileOption = None, config: ConfigOption = None) -> None:
    """Show all tenants, their terms, and how the digests of their keys begin."""
    with _told():
        for name, entry in read_tenants(_path(file, config)).items():
            typer.echo(f"{name}: {_terms(entry)}")
            for key in entry.keys:
                typer.echo(f"  {key.sha256[:_SHOWN]}" + (f" of {key.added}" if key.added else ""))


@app.command()
def revoke(
    name: NameArgument,
    key: Annotated[
        str | None,
        typer.Argument(help="How the key's digest begins, as `list` shows it; the whole tenant when absent."),
    ] = None,
    file: FileOption = None,
    config: ConfigOption = None,
) -> None:
    """End a tenant, or one of its keys. Calls that are under way are answered."""
    with _told():
        ended = end(_path(file, config), name, key)
        typer.echo(f"{ended} of {name}'s keys no longer hold{'' if key else ', and the tenant is gone'}")


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with a file or a name is a usage error."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def _path(file: Path | None, config: Path | None) -> Path:
    path = file or settings_of(config).tenants.path
    if path is None:
        raise ValueError("which file? Name it with --file, or set tenants.path (ASSAY_TENANTS__PATH)")
    return path


def _show(key: str) -> None:
    typer.echo(key)
    typer.echo(
        "It is shown this once: callers send it as `Authorization: Bearer ...` (ASSAY_API_KEY).", err=True
    )


def _terms(entry: Entry) -> str:
    told = [f"weight {entry.weight:g}", f"up to {entry.priority}"]
    if entry.max_in_flight is not None:
        told.append(f"{entry.max_in_flight} rollouts in flight")
    told += [f"{quota.amount} {quota.unit} in {quota.per_s} s" for quota in entry.quotas]
    for field in ("routes", "tasks", "models"):
        only = getattr(entry, field)
        told += [] if only is None else [f"{field} {', '.join(sorted(only))}"]
    return ", ".join([*told, "operator"] if entry.operator else told)

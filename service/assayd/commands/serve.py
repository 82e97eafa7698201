"""``assayd serve``."""

from typing import Annotated

import typer

from ..app import create_app
from ..serving.server import Server
from ..telemetry import configure_logging
from .configuration import ConfigOption, settings_of


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; settings when absent.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; settings when absent.")] = None,
    allow_anonymous: Annotated[
        bool,
        typer.Option(help="Listen beyond loopback although there is no tenants file and nobody shows a key."),
    ] = False,
) -> None:
    """Answer every route, by default on the models inside the package."""
    settings = settings_of(config)
    server = settings.server
    if host is not None:
        server = server.model_copy(update={"host": host})
        settings = settings.model_copy(update={"server": server})
    if not (server.on_loopback or settings.tenants.path or allow_anonymous):
        raise typer.BadParameter(
            f"{server.host} can be reached from other machines and callers need no key: give them keys with "
            "`assayd tenants add` and set tenants.path, listen on 127.0.0.1, or say --allow-anonymous",
            param_hint="--host",
        )
    configure_logging()
    port = server.port if port is None else port
    typer.echo("assayd loads its models", err=True)

    def greet() -> None:
        typer.echo(f"assayd listens on http://{server.host}:{port} (its API: /docs)", err=True)

    service = Server(create_app(settings), server, host=server.host, port=port, on_listening=greet)
    service.run()
    if service.force_exit or not service.started:
        raise typer.Exit(1)

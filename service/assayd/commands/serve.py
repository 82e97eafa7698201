"""``assayd serve``."""

from typing import Annotated

import typer
import uvicorn

from ..app import create_app
from ..telemetry import configure_logging
from .configuration import ConfigOption, settings_of


def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; settings when absent.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; settings when absent.")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option(help="Listen beyond loopback although nobody has to show a key.")
    ] = False,
) -> None:
    """Answer every route, by default on the models inside the package."""
    settings = settings_of(config)
    server = settings.server
    if host is not None:
        server = server.model_copy(update={"host": host})
        settings = settings.model_copy(update={"server": server})
    if not (server.on_loopback or allow_anonymous):
        raise typer.BadParameter(
            f"{server.host} can be reached from other machines and callers need no key: "
            "listen on 127.0.0.1, or say --allow-anonymous",
            param_hint="--host",
        )
    configure_logging()
    port = server.port if port is None else port
    typer.echo(f"assayd listens on http://{server.host}:{port} (its API: /docs)", err=True)
    uvicorn.run(
        create_app(settings),
        host=server.host,
        port=port,
        access_log=False,
        server_header=False,
        log_level="warning",
        timeout_graceful_shutdown=int(server.default_timeout_s),
    )

"""``assayd serve``."""

import ipaddress
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
        bool,
        typer.Option(help="Listen beyond loopback although there is no tenants file and nobody shows a key."),
    ] = False,
) -> None:
    """Answer every route, by default on the models inside the package."""
    settings = settings_of(config)
    server = settings.server
    host = host or server.host
    if not (_is_loopback(host) or settings.tenants.path or allow_anonymous):
        raise typer.BadParameter(
            f"{host} can be reached from other machines and callers need no key: give them keys with "
            "`assayd tenants add` and set tenants.path, listen on 127.0.0.1, or say --allow-anonymous",
            param_hint="--host",
        )
    configure_logging()
    port = server.port if port is None else port
    typer.echo(f"assayd listens on http://{host}:{port} (its API: /docs)", err=True)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=int(server.default_timeout_s),
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

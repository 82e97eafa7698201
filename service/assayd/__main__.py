"""The command line: ``assayd serve``, ``assayd train``."""

import importlib
import ipaddress
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    import uvicorn
    from pydantic import ValidationError

    from .app import create_app
    from .settings import Settings, load_settings
    from .telemetry import configure_logging
except ModuleNotFoundError as missing:
    # The plain install is the client alone.
    raise SystemExit(f"{missing}: the service needs `pip install 'assay[transformers]'`") from missing

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Assay: dense rewards as a service.")
train = typer.Typer(no_args_is_help=True, help="Make the models that are served.")
app.add_typer(train, name="train")

ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with the settings; the environment wins.")]


@app.command()
def serve(
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; settings when absent.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; settings when absent.")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option(help="Listen beyond loopback although nobody has to show a key.")
    ] = False,
) -> None:
    """Answer every route, by default on the models inside the package."""
    settings = _settings(config)
    server = settings.server
    host = host or server.host
    if not (_is_loopback(host) or allow_anonymous):
        raise typer.BadParameter(
            f"{host} can be reached from other machines and callers need no key: "
            "listen on 127.0.0.1, or say --allow-anonymous",
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


@train.command("pocket")
def train_pocket(
    out: Annotated[Path, typer.Argument(help="Folder to write the weights and the tokenizer to.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same model.")] = 0,
) -> None:
    """Make the embedded critic from nothing: corpus, tokenizer, weights."""
    _training("assay_training.pocket").train_pocket(out, seed=seed)


def main() -> None:
    """Entry point of ``assayd``."""
    app()


def _settings(config: Path | None) -> Settings:
    try:
        return load_settings(config)
    except (FileNotFoundError, ValidationError) as error:
        raise typer.BadParameter(str(error), param_hint="--config") from error


def _training(module: str) -> Any:
    # By name: the service never imports training, which may not be installed beside it.
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise typer.BadParameter(f"{error}: install it with `pip install 'assay[train]'`") from error


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    main()

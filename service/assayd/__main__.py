"""The command line: ``assayd`` and its commands."""

try:
    import typer

    from .commands import annotate, canary, fit_normalizer, selftest, serve, tenants, train
except ModuleNotFoundError as missing:
    # The plain install is the client alone.
    raise SystemExit(f"{missing}: the service needs `pip install 'assay[transformers]'`") from missing

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Assay: dense rewards as a service.")
app.command()(serve.serve)
app.command()(annotate.annotate)
app.command()(fit_normalizer.fit_normalizer)
app.command()(selftest.selftest)
app.add_typer(canary.app, name="canary")
app.add_typer(tenants.app, name="tenants")
app.add_typer(train.app, name="train")


def main() -> None:
    """Entry point of ``assayd``."""
    app()


if __name__ == "__main__":
    main()

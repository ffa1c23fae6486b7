"""`atx up`. Not here: what it opens (`web/up.py`)."""

import click


@click.command()
def up() -> None:
    """Open the Dagster UI with its daemon, and MLflow, until Ctrl-C."""
    from atx_assets.settings import read_settings
    from atx_assets.web.up import up as run_up

    run_up(read_settings(), click.echo)

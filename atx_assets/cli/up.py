"""`atx up`. Not here: what it opens (`local/up.py`)."""

import click


@click.command()
def up() -> None:
    """Open the Dagster UI with its daemon, and MLflow, until Ctrl-C."""
    from atx_assets.local.up import up as run_up
    from atx_assets.settings import read_settings

    run_up(read_settings(), click.echo)

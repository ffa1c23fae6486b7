"""`atx up`. Not here: what it opens (`web/up.py`)."""

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.pass_obj
def up(invocation: Invocation) -> None:
    """Open the Dagster UI with its daemon, and MLflow, until Ctrl-C."""
    from atx_assets.web.up import up as run_up

    run_up(invocation.settings, click.echo)

"""`atx rollback`. Not here: the rolling back (`commands/promote.py`)."""

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.pass_obj
def rollback(invocation: Invocation) -> None:
    """Make the previous champion the champion again."""
    from atx_assets.commands.promote import roll_back

    roll_back(invocation.settings, click.echo)

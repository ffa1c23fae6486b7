"""`atx promote`. Not here: the promoting (`commands/promote.py`)."""

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.argument("version", type=click.IntRange(1))
@click.pass_obj
def promote(invocation: Invocation, version: int) -> None:
    """Make a VERSION from the data folder the champion."""
    from atx_assets.commands.promote import promote as promote_version

    promote_version(invocation.settings, version, click.echo)

"""`atx promote`. Not here: the promoting (`commands/promote.py`)."""

import click


@click.command()
@click.argument("version", type=click.IntRange(1))
def promote(version: int) -> None:
    """Make a VERSION from the data folder the champion."""
    from atx_assets.commands.promote import promote as promote_version
    from atx_assets.settings import read_settings

    promote_version(read_settings(), version, click.echo)

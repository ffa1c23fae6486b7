"""`atx promote`. Not here: the promoting (`local/promote.py`)."""

import click


@click.command()
@click.argument("version", type=click.IntRange(1))
def promote(version: int) -> None:
    """Make a VERSION that is kept in the data folder the champion."""
    from atx_assets.local.promote import promote as promote_version
    from atx_assets.settings import read_settings

    promote_version(read_settings(), version, click.echo)

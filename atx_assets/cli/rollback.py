"""`atx rollback`. Not here: the rolling back (`commands/promote.py`)."""

import click


@click.command()
def rollback() -> None:
    """Make the previous champion the champion again."""
    from atx_assets.commands.promote import roll_back
    from atx_assets.settings import read_settings

    roll_back(read_settings(), click.echo)

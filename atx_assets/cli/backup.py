"""`atx backup`. Not here: the backup (`home/backup/backup.py`)."""

from pathlib import Path

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_obj
def backup(invocation: Invocation, file: Path | None) -> None:
    """Back up the home and its data into one FILE. `atx up` may go on running.

    The default FILE is atx-backup-<date>-<time>.tar.gz in the current folder.
    """
    from atx_assets.home.backup.backup import backup as make_backup

    make_backup(invocation.settings, file, click.echo)

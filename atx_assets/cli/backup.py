"""`atx backup`. Not here: the backup (`home/backup/backup.py`)."""

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def backup(file: Path | None) -> None:
    """Write all of the home and its data into one FILE, while `atx up` may go on.

    By default it is atx-backup-<date>-<time>.tar.gz in the current folder.
    """
    from atx_assets.home.backup.backup import backup as make_backup
    from atx_assets.settings import read_settings

    make_backup(read_settings(), file, click.echo)

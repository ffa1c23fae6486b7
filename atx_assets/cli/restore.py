"""`atx restore`. Not here: the restoring (`home/backup/restore.py`)."""

from pathlib import Path

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--trust-code",
    is_flag=True,
    help="Restore your own functions, triggers and views. Use it only for a backup that you made.",
)
@click.pass_obj
def restore(invocation: Invocation, file: Path, trust_code: bool) -> None:
    """Restore a backup FILE into an empty ATX_HOME and ATX_DATA_DIR."""
    from atx_assets.home.backup.restore import restore as restore_home

    restore_home(invocation.settings, file, click.echo, trust_code=trust_code)

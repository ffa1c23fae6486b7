"""`atx correct keep`, `skip`, `undo` and `list`. Not here: correcting (`commands/correct.py`)."""

import sys
from typing import Literal

import click


@click.group()
def correct() -> None:
    """Correct labels in the database, or undo a correction. Without --write, show a preview."""


_WRITE = "Write the change. Without it, only show a preview."


@correct.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--write", is_flag=True, help=_WRITE)
def keep(ids: tuple[str, ...], write: bool) -> None:
    """Label films as keeps. A downloader may then fetch them.

    An ID is an IMDb id or the hash of a release. Use - to read IDs from standard input.
    """
    _correct(ids, "keep", write)


@correct.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--write", is_flag=True, help=_WRITE)
def skip(ids: tuple[str, ...], write: bool) -> None:
    """Label films as skips.

    An ID is an IMDb id or the hash of a release. Use - to read IDs from standard input.
    """
    _correct(ids, "skip", write)


def _correct(ids: tuple[str, ...], verdict: Literal["keep", "skip"], write: bool) -> None:
    from atx_assets.commands.correct import correct as correct_labels
    from atx_assets.commands.correct import given_ids
    from atx_assets.settings import read_settings

    found = given_ids(ids, sys.stdin)
    correct_labels(read_settings(), found, verdict, click.echo, write=write)


@correct.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--write", is_flag=True, help=_WRITE)
def undo(number: int, write: bool) -> None:
    """Undo the correction NUMBER, except for rows that have changed since."""
    from atx_assets.commands.correct import undo as undo_correction
    from atx_assets.settings import read_settings

    undo_correction(read_settings(), number, click.echo, write=write)


@correct.command("list")
def list_() -> None:
    """List the corrections recorded in this home, newest first."""
    from atx_assets.commands.correct import list_corrections
    from atx_assets.settings import read_settings

    list_corrections(read_settings(), click.echo)

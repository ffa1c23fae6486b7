"""`atx correct keep`, `skip`, `undo` and `list`. Not here: correcting (`commands/correct.py`)."""

import sys
from typing import Literal

import click

from atx_assets.cli.invocation import Invocation


@click.group()
def correct() -> None:
    """Correct labels in the database, or undo a correction. Without --write, show a preview."""


_WRITE = "Write the change. Without it, only show a preview."


@correct.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--write", is_flag=True, help=_WRITE)
@click.pass_obj
def keep(invocation: Invocation, ids: tuple[str, ...], write: bool) -> None:
    """Label films as keeps. A downloader may then fetch them.

    An ID is an IMDb id or the hash of a release. Use - to read IDs from standard input.
    """
    _correct(invocation, ids, "keep", write)


@correct.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--write", is_flag=True, help=_WRITE)
@click.pass_obj
def skip(invocation: Invocation, ids: tuple[str, ...], write: bool) -> None:
    """Label films as skips.

    An ID is an IMDb id or the hash of a release. Use - to read IDs from standard input.
    """
    _correct(invocation, ids, "skip", write)


def _correct(
    invocation: Invocation, ids: tuple[str, ...], verdict: Literal["keep", "skip"], write: bool
) -> None:
    from atx_assets.commands.correct import correct as correct_labels
    from atx_assets.commands.correct import given_ids

    given = given_ids(ids, sys.stdin)
    correct_labels(invocation.settings, given, verdict, click.echo, write=write)


@correct.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--write", is_flag=True, help=_WRITE)
@click.pass_obj
def undo(invocation: Invocation, number: int, write: bool) -> None:
    """Undo the correction NUMBER, except for rows that have changed since."""
    from atx_assets.commands.correct import undo as undo_correction

    undo_correction(invocation.settings, number, click.echo, write=write)


@correct.command("list")
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """List the corrections recorded in this home, newest first."""
    from atx_assets.commands.correct import list_corrections

    list_corrections(invocation.settings, click.echo)

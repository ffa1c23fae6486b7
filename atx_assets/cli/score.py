"""`atx score`. Not here: the scoring (`commands/score.py`)."""

import sys
from pathlib import Path

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.pass_obj
def score(invocation: Invocation, file: Path | None) -> None:
    """Score titles with the champion: JSON in, from FILE or standard input, and JSON out.

    A title is an object with the columns of your table that you know: {"imdb_id": "tt0133093",
    "release_year": 1999, "genre": ["Action", "Sci-Fi"]}. For several titles, pass a list.
    """
    from atx_assets.commands.score import read_given
    from atx_assets.commands.score import score as score_titles

    click.echo(score_titles(invocation.settings, read_given(file, sys.stdin)))

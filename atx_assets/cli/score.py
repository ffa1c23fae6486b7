"""`atx score`. Not here: the scoring (`commands/score.py`)."""

import sys
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def score(file: Path | None) -> None:
    """Score titles with the champion: JSON in, from FILE or standard input, and JSON out.

    A title is an object with the columns of your table that you know: {"imdb_id": "tt0133093",
    "release_year": 1999, "genre": ["Action", "Sci-Fi"]}. For several titles, pass a list.
    """
    from atx_assets.commands.score import read_given
    from atx_assets.commands.score import score as score_titles
    from atx_assets.settings import read_settings

    click.echo(score_titles(read_settings(), read_given(file, sys.stdin)))

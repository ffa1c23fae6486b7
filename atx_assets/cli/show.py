"""`atx show errors`, `queue`, `recommendations` and `quarantine`. Not here: the lists
(`commands/show.py`)."""

import click


@click.group()
def show() -> None:
    """Print a list: mistakes, films to label next, recommendations, or rows set aside."""


_GENRE = click.option(
    "--genre",
    "genres",
    multiple=True,
    help="Only films of this genre. If repeated, of any of them.",
)
_LIMIT = click.option(
    "--limit",
    type=click.IntRange(1),
    help="How many to print. The default is 20, or all with --json.",
)
_JSON = click.option("--json", "json_", is_flag=True, help="Print the records as JSON.")


@show.command("errors")
@click.option(
    "--kind",
    type=click.Choice(["fp", "fn"]),
    help="Only false positives (predicted keep, labelled skip) or only false negatives.",
)
@_GENRE
@_LIMIT
@_JSON
def errors(kind: str | None, genres: tuple[str, ...], limit: int | None, json_: bool) -> None:
    """List the films that the model gets wrong, the surest mistake first."""
    from atx_assets.commands.show import show_errors
    from atx_assets.settings import read_settings

    show_errors(read_settings(), click.echo, kind=kind, genres=genres, limit=limit, as_json=json_)


@show.command("queue")
@_GENRE
@_LIMIT
@_JSON
def queue(genres: tuple[str, ...], limit: int | None, json_: bool) -> None:
    """List the films to label or label again next."""
    from atx_assets.commands.show import show_queue
    from atx_assets.settings import read_settings

    show_queue(read_settings(), click.echo, genres=genres, limit=limit, as_json=json_)


@show.command("recommendations")
@_GENRE
@_LIMIT
@_JSON
def recommendations(genres: tuple[str, ...], limit: int | None, json_: bool) -> None:
    """List the unlabelled films that the model would keep, best first."""
    from atx_assets.commands.show import show_recommendations
    from atx_assets.settings import read_settings

    show_recommendations(read_settings(), click.echo, genres=genres, limit=limit, as_json=json_)


@show.command("quarantine")
@_LIMIT
@_JSON
def quarantine(limit: int | None, json_: bool) -> None:
    """List the rows of your table that cannot be used, and why."""
    from atx_assets.commands.show import show_quarantine
    from atx_assets.settings import read_settings

    show_quarantine(read_settings(), click.echo, limit=limit, as_json=json_)

"""`atx show errors`, `queue`, `recommendations` and `quarantine`. Not here: the lists
(`commands/show.py`)."""

import click

from atx_assets.cli.invocation import Invocation


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
@click.pass_obj
def errors(
    invocation: Invocation,
    kind: str | None,
    genres: tuple[str, ...],
    limit: int | None,
    json_: bool,
) -> None:
    """List the films that the model gets wrong, the surest mistake first."""
    from atx_assets.commands.show import show_errors

    show_errors(
        invocation.settings, click.echo, kind=kind, genres=genres, limit=limit, as_json=json_
    )


@show.command("queue")
@_GENRE
@_LIMIT
@_JSON
@click.pass_obj
def queue(invocation: Invocation, genres: tuple[str, ...], limit: int | None, json_: bool) -> None:
    """List the films to label or label again next."""
    from atx_assets.commands.show import show_queue

    show_queue(invocation.settings, click.echo, genres=genres, limit=limit, as_json=json_)


@show.command("recommendations")
@_GENRE
@_LIMIT
@_JSON
@click.pass_obj
def recommendations(
    invocation: Invocation, genres: tuple[str, ...], limit: int | None, json_: bool
) -> None:
    """List the unlabelled films that the model would keep, best first."""
    from atx_assets.commands.show import show_recommendations

    show_recommendations(invocation.settings, click.echo, genres=genres, limit=limit, as_json=json_)


@show.command("quarantine")
@_LIMIT
@_JSON
@click.pass_obj
def quarantine(invocation: Invocation, limit: int | None, json_: bool) -> None:
    """List the rows of your table that cannot be used, and why."""
    from atx_assets.commands.show import show_quarantine

    show_quarantine(invocation.settings, click.echo, limit=limit, as_json=json_)

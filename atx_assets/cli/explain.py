"""`atx explain`. Not here: the explaining (`commands/explain.py`)."""

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--json", "json_", is_flag=True, help="Print the record as JSON, or a list for several films."
)
@click.pass_obj
def explain(invocation: Invocation, ids: tuple[str, ...], json_: bool) -> None:
    """Explain the probability of films: reasons, and the labelled films most like them.

    An ID is an IMDb id, a key from the files, or a title such as "Dune" or "Dune (2021)".
    """
    from atx_assets.commands.explain import explain as explain_films

    explain_films(invocation.settings, ids, click.echo, as_json=json_)

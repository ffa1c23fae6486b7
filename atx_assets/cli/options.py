"""Options that several commands share. Not here: what they print (`commands/output/`)."""

import logging
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from atx_assets.commands.output.display import Output

QUIET = click.option("--quiet", is_flag=True, help="Print only warnings and failures.")
JSON_OUTCOME = click.option(
    "--json",
    "json_",
    is_flag=True,
    help="Print one JSON object at the end, and progress on standard error.",
)


def output(quiet: bool, json_: bool) -> "Output":
    """Return what a command with these two options prints.

    Raises:
        click.UsageError: both were given.
    """
    from atx_assets.commands.output.display import Output

    if quiet and json_:
        raise click.UsageError("ask for --quiet or --json, not both")
    if quiet or json_:
        logging.getLogger("atx_assets").setLevel(logging.WARNING)
    return Output.QUIET if quiet else Output.JSON if json_ else Output.SHOWN

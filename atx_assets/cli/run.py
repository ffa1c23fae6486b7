"""`atx run`. Not here: the run and its output (`commands/run.py`)."""

import click

from atx_assets.cli.invocation import Invocation
from atx_assets.cli.options import JSON_OUTCOME, QUIET, output


@click.command()
@click.option(
    "--job",
    type=click.Choice(["full_rebuild", "refresh", "score"]),
    help="Run everything (the default), everything but the search, or only the scoring.",
)
@click.option(
    "--select",
    metavar="ASSETS",
    help="Run these assets instead of a job, in Dagster's syntax: 'key:scored_results+'.",
)
@click.option("--figures", is_flag=True, help="At the end, print all measured figures.")
@QUIET
@JSON_OUTCOME
@click.pass_obj
def run(
    invocation: Invocation,
    job: str | None,
    select: str | None,
    figures: bool,
    quiet: bool,
    json_: bool,
) -> None:
    """Materialise the assets without the UI, and print the results."""
    if select and job:
        raise click.UsageError("name a --job or --select assets, not both")
    printed = output(quiet, json_)
    if figures and (quiet or json_):
        raise click.UsageError("--figures prints more: leave out --quiet and --json")
    from atx_assets.commands.run import run as run_assets
    from atx_assets.commands.run import telling

    with telling(printed) as run_output:
        run_assets(
            invocation.settings, run_output, job=job or "", select=select or "", figures=figures
        )

"""`atx run`. Not here: the run and what it tells (`commands/run.py`)."""

import click

from atx_assets.cli.invocation import Invocation
from atx_assets.cli.options import JSON_OUTCOME, QUIET, output


@click.command()
@click.option(
    "--job",
    type=click.Choice(["full_rebuild", "refresh", "score"]),
    help="All, which is the default; all but the hyperparameter search; or scoring alone.",
)
@click.option(
    "--select",
    metavar="ASSETS",
    help="Assets instead of a job, as Dagster selects them: 'key:scored_results+'.",
)
@click.option("--figures", is_flag=True, help="Print all that was measured at the end.")
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
    """Materialise the assets without the UI, and tell what was found."""
    if select and job:
        raise click.UsageError("name a --job or --select assets, not both")
    told_by = output(quiet, json_)
    if figures and (quiet or json_):
        raise click.UsageError("--figures is more to read: leave out --quiet and --json")
    from atx_assets.commands.run import run as run_assets
    from atx_assets.commands.run import telling

    with telling(told_by) as told:
        run_assets(invocation.settings, told, job=job or "", select=select or "", figures=figures)

"""`atx load`. Not here: the loading (`commands/load.py`)."""

from pathlib import Path

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--beside-other-tables",
    is_flag=True,
    help="Make atp's tables even in a database that holds tables atx does not know.",
)
@click.option(
    "--overwrite-verdicts",
    is_flag=True,
    help="Take the file's verdicts even where a person gave another one.",
)
@click.pass_obj
def load(
    invocation: Invocation, file: Path, beside_other_tables: bool, overwrite_verdicts: bool
) -> None:
    """Put a parquet export of either layout into the database.

    Verdicts of people are named, and stay, unless the file has newer ones of people.
    """
    from atx_assets.commands.load import load as load_export

    load_export(
        invocation.settings,
        file,
        click.echo,
        beside_other_tables=beside_other_tables,
        overwrite_verdicts=overwrite_verdicts,
    )

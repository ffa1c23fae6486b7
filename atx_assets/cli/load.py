"""`atx load`. Not here: the loading (`commands/load.py`)."""

from pathlib import Path

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--beside-other-tables",
    is_flag=True,
    help="Create atp's tables even if the database has tables that atx does not know.",
)
@click.option(
    "--overwrite-verdicts",
    is_flag=True,
    help="Take the file's verdicts even if a person gave another one.",
)
@click.pass_obj
def load(
    invocation: Invocation, file: Path, beside_other_tables: bool, overwrite_verdicts: bool
) -> None:
    """Load a parquet export of either layout into the database.

    People's verdicts stay, and are named, unless the file has newer ones by people.
    """
    from atx_assets.commands.load import load as load_export

    load_export(
        invocation.settings,
        file,
        click.echo,
        beside_other_tables=beside_other_tables,
        overwrite_verdicts=overwrite_verdicts,
    )

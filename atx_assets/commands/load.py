"""`atx load`: loads a parquet export into the database that the settings name.

Not here: the loading itself (`sources/load/load.py`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from atx_assets.errors import AtxError, SourceError
from atx_assets.home.home import open_home
from atx_assets.home.memory import bounded_memory
from atx_assets.plain_text import plain
from atx_assets.sample import LIBRARY
from atx_assets.settings import Settings
from atx_assets.sources.layouts import SCHEMA, find_source
from atx_assets.sources.load.load import LoadReport, load_file
from atx_assets.sources.read.database import connect, explained

if TYPE_CHECKING:
    import psycopg


def load(
    settings: Settings,
    path: Path,
    say: Callable[[str], None],
    *,
    beside_other_tables: bool,
    overwrite_verdicts: bool,
) -> None:
    """Load a file and report what became of its rows.

    Raises:
        AtxError: the database or the file cannot be used.
    """
    from atx_assets.commands.demo import holds_sample

    with open_home(settings) as ready:
        connection = connect(ready.database, statement_timeout=ready.statement_timeout)
        with explained(ready.database), connection:
            if path.resolve() != LIBRARY and holds_sample(connection):
                raise AtxError(
                    f"{ready.database} holds the sample library, and your films do not belong "
                    "among those of a made-up viewer: load them into a home of their own, "
                    "`ATX_HOME=.atx-mine ATX_DATA_DIR=data-mine atx load FILE`, or first move "
                    f"{ready.home} and {ready.data_dir} away"
                )
            with bounded_memory():
                report = load_file(
                    connection,
                    path,
                    beside_other_tables=beside_other_tables,
                    overwrite_verdicts=overwrite_verdicts,
                )
            other = _read_instead(connection, ready, report)
        for line in [*report.lines(), *other]:
            say(plain(line))


def _read_instead(
    connection: "psycopg.Connection", settings: Settings, report: LoadReport
) -> list[str]:
    """Return a note if runs will read the other layout's table and not the loaded one."""
    try:
        read = find_source(connection, settings.source).layout
    except SourceError as error:  # the other table is unusable, and runs would stop
        return [f"  note: {error}"]
    if read.name == report.layout:
        return []
    return [
        f"  note: runs read {SCHEMA}.{read.table}, which exists as well: set "
        f"ATX_SOURCE={report.layout} to have them read {report.table}"
    ]

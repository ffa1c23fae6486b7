"""`atx demo`: the whole graph on the sample library, on the embedded servers.

Not here: the sample (`sample/`), loading (`sources/load/load.py`), running (`run.py`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from atx_assets.commands.run import Telling, run_job
from atx_assets.errors import AtxError
from atx_assets.home.home import open_home, uses_own_servers
from atx_assets.sample import LIBRARY, is_sample
from atx_assets.settings import Settings, read_settings

if TYPE_CHECKING:
    import psycopg


def demo(settings: Settings, run_output: Telling) -> None:
    """Load the sample library, run everything, and print the results.

    Raises:
        AtxError: the home holds another library, or a part failed.
    """
    say, apart = run_output.display.say, _apart(settings)
    if apart != settings:
        say(f"PG_HOST or MLFLOW_HOST is set: the demo does not use them, but {apart.home}")
    with open_home(apart) as ready:
        say(f"sample library: 17,470 real films, labelled by a made-up viewer ({ready.database})")
        _load_sample(ready, say)
        run_job(ready, run_output)
        run_output.summarise(ready, usual_data=settings.data_dir)
    up = "make up" if apart == settings else _up_apart(apart)
    say(f"  UI      `{up}`, then http://127.0.0.1:{apart.ui_port}")


def _up_apart(apart: Settings) -> str:
    """Return the command that opens the UI of the separate demo, not of the owner's library."""
    home, data = shlex.quote(str(apart.home)), shlex.quote(str(apart.data_dir))
    unset = "PG_HOST= MLFLOW_HOST= DAGSTER_POSTGRES_URL= ATX_SOURCE="
    return f"{unset} ATX_HOME={home} ATX_DATA_DIR={data} make up"


def _apart(settings: Settings) -> Settings:
    """Return settings that use only embedded servers, away from a configured library."""
    own = uses_own_servers(settings)
    if own and not settings.mlflow_host:
        return settings
    defaults = read_settings({})
    home = settings.home.with_name(settings.home.name + "-demo")
    return replace(
        settings,
        home=home,
        data_dir=home / "data",
        pg_host=defaults.pg_host,
        pg_port=defaults.pg_port,
        pg_db=defaults.pg_db,
        pg_user=defaults.pg_user,
        pg_pass=defaults.pg_pass,
        dagster_postgres_url=defaults.dagster_postgres_url,
        source=defaults.source,
        mlflow_host=defaults.mlflow_host,
        mlflow_port=defaults.mlflow_port,
    )


def _load_sample(settings: Settings, say: Callable[[str], None]) -> None:
    from atx_assets.sources.load.load import load_file
    from atx_assets.sources.read.database import connect, explained

    connection = connect(settings.database, statement_timeout=settings.statement_timeout)
    with explained(settings.database), connection:
        _refuse_other_library(connection, settings)
        report = load_file(connection, LIBRARY)
    say(f"  loaded: {report.added:,} releases added, {report.unchanged:,} already there")
    for line in report.verdict_lines():
        say(f"  {line}")


def _refuse_other_library(connection: psycopg.Connection, settings: Settings) -> None:
    """Keep the sample out of a real library."""
    if _tables(connection) and not holds_sample(connection):
        raise AtxError(
            f"the embedded database of {settings.home} already holds another library: run the "
            "demo in a home of its own, `ATX_HOME=.atx-demo ATX_DATA_DIR=.atx-demo/data make demo`"
        )


def holds_sample(connection: psycopg.Connection) -> bool:
    """Return whether the database holds the sample library and nothing else."""
    import pyarrow as pa

    if _tables(connection) != ["media"]:
        return False
    with connection.transaction():
        hashes = [h for (h,) in connection.execute("SELECT hash::text FROM atp.media")]
    return is_sample(pa.chunked_array([hashes], pa.string()))


def _tables(connection: psycopg.Connection) -> list[str]:
    """Return the names of those layouts' tables that exist and hold a row."""
    from psycopg import sql

    filled = []
    with connection.transaction():
        for name in ("media", "training"):
            table = connection.execute("SELECT to_regclass(%s)", (f"atp.{name}",)).fetchone()
            if table == (None,):
                continue
            row = sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier("atp", name))
            if connection.execute(row).fetchone():
                filled.append(name)
    return filled

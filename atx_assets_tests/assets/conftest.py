"""A small library of real films in a real database, and the graph run on it once."""

import os
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from atx_assets.definitions import build_defs
from atx_assets.local.postgres import EmbeddedPostgres
from atx_assets.resources.database import connect
from atx_assets.resources.files import DataFiles
from atx_assets.sample import LIBRARY
from atx_assets.settings import Database
from atx_assets.sources.load import load_file

#: Releases of the sample library in the small one.
RELEASES = 1500


@dataclass(frozen=True)
class Workplace:
    """A database and a data folder, and a way to run the graph on them."""

    database: Database
    home: Path

    @property
    def files(self) -> DataFiles:
        return DataFiles(directory=str(self.home / "data"))

    def run(self, job: str = "full_rebuild") -> dg.ExecuteInProcessResult:
        environment = {
            "PG_HOST": self.database.host,
            "PG_PORT": str(self.database.port),
            "PG_DB": self.database.name,
            "PG_USER": self.database.user,
            "PG_PASS": self.database.password,
            "ATX_HOME": str(self.home),
            "ATX_DATA_DIR": str(self.home / "data"),
        }
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            with dg.DagsterInstance.ephemeral() as instance:
                return (
                    build_defs()
                    .resolve_job_def(job)
                    .execute_in_process(
                        instance=instance,
                        raise_on_error=False,
                        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                    )
                )
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def connect(self) -> psycopg.Connection:
        return connect(self.database, statement_timeout=60)

    def contents(self) -> dict[str, bytes]:
        folder = self.home / "data"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture(scope="session")
def small_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the sample library: 1,500 releases, half of them judged."""
    rows = pq.read_table(LIBRARY)
    judged = pc.not_equal(rows["rejection_status"], "unfiltered")
    part = pa.concat_tables(
        [
            rows.filter(judged).slice(0, RELEASES // 2),
            rows.filter(pc.invert(judged)).slice(0, RELEASES // 2),
        ]
    )
    path = tmp_path_factory.mktemp("library") / "small.parquet"
    pq.write_table(part, path)
    return path


def _workplace(postgres: EmbeddedPostgres, name: str, library: Path, home: Path) -> Workplace:
    postgres.ensure_database(name)
    place = Workplace(Database(postgres.host, postgres.port, name, postgres.user), home)
    with place.connect() as connection:
        load_file(connection, library)
    return place


@pytest.fixture(scope="session")
def finished(
    postgres: EmbeddedPostgres, small_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    """The small library with everything run once. For reading only."""
    place = _workplace(postgres, "finished", small_library, tmp_path_factory.mktemp("finished"))
    result = place.run()
    assert result.success
    return place


@pytest.fixture
def copied(
    finished: Workplace, database: Database, small_library: Path, tmp_path: Path
) -> Workplace:
    """A copy of the finished workplace that a test may change."""
    import shutil

    shutil.copytree(finished.home, tmp_path / "home")
    place = Workplace(database, tmp_path / "home")
    with place.connect() as connection:
        load_file(connection, small_library)
    return place

"""A small library of real films, and the graph run on it once."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from atx_assets.definitions import build_defs
from atx_assets.defs.resources.files import DataFiles
from atx_assets.home.mlflow_store import move_store
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.sample import LIBRARY
from atx_assets.settings import Database, Settings, environment, read_settings
from atx_assets.sources.load.load import load_file
from atx_assets.sources.read.database import connect
from atx_assets_tests.builders.environment import as_settings
from atx_assets_tests.builders.once import copy_folder, made_once
from atx_assets_tests.builders.postgres import (
    dump_database,
    grant_reader,
    new_database,
    restore_database,
)

#: Releases of the sample library in the small one.
RELEASES = 1500
REPORT = dg.AssetKey("analysis_report")
_LISTS = ("false_positives", "false_negatives", "review_queue")
_MADE_OF_SCORES = [REPORT, *(dg.AssetKey(name) for name in _LISTS)]


#: Else Dagster starts four processes a step to keep what it prints, which nobody reads here.
_NO_OUTPUT_KEPT = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


@dataclass(frozen=True)
class Workplace:
    """A database and a data folder, and a way to run the graph on them.

    `database` is as its owner sees it, and so is `connect`. What runs in `environment` reads as
    `atx_reader`.
    """

    database: Database
    home: Path

    @property
    def files(self) -> DataFiles:
        return DataFiles(directory=str(self.home / "data"))

    def label_some(self, films: int = 20) -> None:
        """Turn some of the skips into keeps, so that the next model would be promoted."""
        with self.connect() as connection:
            connection.execute(
                "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL "
                "WHERE imdb_id IN (SELECT imdb_id FROM atp.media "
                "WHERE rejection_status = 'rejected' "
                "ORDER BY rt_score DESC NULLS LAST, hash LIMIT %s)",
                [films],
            )

    def instance(self) -> dg.DagsterInstance:
        """Dagster's records of what was run here; to be closed."""
        folder = self.home / "records"
        folder.mkdir(parents=True, exist_ok=True)
        # Dagster's own default makes a database a run, which is a tenth of what a run takes.
        events = {
            "module": "dagster._core.storage.event_log",
            "class": "ConsolidatedSqliteEventLogStorage",
            "config": {"base_dir": str(folder)},
        }
        overrides = {**_NO_OUTPUT_KEPT, "event_log_storage": events}
        return dg.DagsterInstance.local_temp(str(folder), overrides)

    def values(self, **more: str) -> dict[str, str]:
        """What the environment says of the workplace, and `more`."""
        return {
            **as_settings(grant_reader(self.database)),
            "ATX_HOME": str(self.home),
            "ATX_DATA_DIR": str(self.home / "data"),
            **more,
        }

    def settings(self, **more: str) -> Settings:
        """The settings of the workplace, over what this process has, and `more`."""
        return read_settings({**environment(), **self.values(**more)})

    @contextmanager
    def environment(self, **settings: str) -> Iterator[None]:
        """Make the settings of this process those of the workplace, and `settings`."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.values(**settings).items():
                patch.setenv(name, value)
            yield

    def run(
        self,
        job: str = "full_rebuild",
        instance: dg.DagsterInstance | None = None,
        tags: Mapping[str, str] | None = None,
        assets: Collection[dg.AssetKey] | None = None,
        without: Collection[dg.AssetKey] = (),
        **settings: str,
    ) -> dg.ExecuteInProcessResult:
        """Run a job in this process, by default on an instance that is forgotten.

        The whole of it, or these `assets` alone, or all but those that it goes `without`. MLflow is
        not told of a training, which takes as long again, unless `settings` say something of it.
        """
        of_mlflow = {"ATX_MLFLOW", "MLFLOW_HOST", "ATX_MODEL_NAME"} & settings.keys()
        if job != "housekeeping" and not of_mlflow:
            settings["ATX_MLFLOW"] = "off"
        if instance is None:
            with dg.DagsterInstance.ephemeral() as forgotten:
                return self.run(job, forgotten, tags, assets, without, **settings)
        with self.environment(**settings):
            made = build_defs().resolve_job_def(job)
            if without:
                assets = made.asset_layer.executable_asset_keys - set(without)
            return made.execute_in_process(
                instance=instance,
                raise_on_error=False,
                tags=tags,
                asset_selection=list(assets) if assets else None,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )

    def learns(
        self, job: str = "refresh", instance: dg.DagsterInstance | None = None, **settings: str
    ) -> dg.ExecuteInProcessResult:
        """Run a job as far as the scores: lists and report take as long again."""
        return self.run(job, instance, without=_MADE_OF_SCORES, **settings)

    def connect(self) -> psycopg.Connection:
        return connect(self.database, statement_timeout=60)

    def contents(self) -> dict[str, bytes]:
        folder = self.home / "data"
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture
def workplace(database: Database, tmp_path: Path) -> Workplace:
    """A workplace with an empty database, in which nothing was run."""
    return Workplace(database, tmp_path / "home")


@pytest.fixture(scope="session")
def small_library() -> Path:
    """A part of the sample library: 1,500 releases, half of them labelled."""
    return made_once("small-library", _write_small_library) / "small.parquet"


def _write_small_library(folder: Path) -> None:
    rows = pq.read_table(LIBRARY)
    labelled = pc.not_equal(rows["rejection_status"], "unfiltered")
    part = pa.concat_tables(
        [
            rows.filter(labelled).slice(0, RELEASES // 2),
            rows.filter(pc.invert(labelled)).slice(0, RELEASES // 2),
        ]
    )
    pq.write_table(part, folder / "small.parquet")


@pytest.fixture(scope="session")
def finished(
    postgres: EmbeddedPostgres, small_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    """The small library with everything run once, and Dagster's records of it. For reading only."""

    def make(folder: Path) -> None:
        with new_database(postgres) as database:
            place = Workplace(database, folder / "home")
            with place.connect() as connection:
                load_file(connection, small_library)
            with place.instance() as instance:
                assert place.run("full_rebuild", instance, ATX_MLFLOW="on").success
            dump_database(database, folder / "library.dump")

    made = made_once("finished", make)
    postgres.ensure_database(_FINISHED)
    database = Database(postgres.host, postgres.port, _FINISHED, postgres.user)
    restore_database(made / "library.dump", database)
    home = tmp_path_factory.mktemp("finished") / "home"
    copy_home(made / "home", home)
    return Workplace(database, home)


@pytest.fixture
def copied(finished: Workplace, postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Workplace]:
    """A copy of the finished workplace that a test may change."""
    copy_home(finished.home, tmp_path / "home")
    with new_database(postgres, template=_FINISHED) as database:
        yield Workplace(database, tmp_path / "home")


def copy_home(source: Path, target: Path) -> None:
    """Copy a home of which no server runs; its MLflow store writes into the copy from now on."""
    copy_folder(source, target)
    store = target / "mlflow" / "mlflow.db"
    if store.exists():
        move_store(store, target / "mlflow" / "artifacts", source, target)


_FINISHED = "finished"

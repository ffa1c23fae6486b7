"""Homes whose Dagster and MLflow tables another release made: brought up to date, or left alone."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from dagster._core.storage.sql import run_alembic_downgrade
from dagster_postgres.utils import pg_alembic_config

from atx_assets.cli.main import main
from atx_assets.errors import AtxError
from atx_assets.home import mlflow_store as mlflow_file
from atx_assets.home import schema_upgrade
from atx_assets.home.home import exports, open_home
from atx_assets.home.mlflow_store import copy_store
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.home.schema_upgrade import Age, dagster_age, mlflow_age, ready_stores, revisions
from atx_assets.models import embedded_registry
from atx_assets.models.mlflow_server import reach
from atx_assets.models.sqlite_faults import store_fault
from atx_assets.settings import Settings, read_settings
from atx_assets_tests.builders.postgres import storage_url

#: What Dagster 1.9 (autumn 2024) and MLflow 3.8 (winter 2025) had.
DAGSTER_1_9, MLFLOW_3_8 = "16e3655b4d9b", "1bd49d398cd23"
LATER = "fedcba987654"


@pytest.fixture
def ready(
    home: Path, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Settings]:
    """An open home whose Dagster keeps its storage in a database of the shared server."""
    name = f"storage_{home.parent.name.replace('-', '_')}"
    postgres.ensure_database(name)
    url = storage_url(postgres, name)
    own = {"PG_HOST": postgres.host, "DAGSTER_POSTGRES_URL": url}
    settings = read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(home / "d"), **own})
    with open_home(settings) as opened:
        for variable, value in exports(opened).items():
            monkeypatch.setenv(variable, value)
        yield opened


def instance(settings: Settings) -> dg.DagsterInstance:
    return dg.DagsterInstance.from_config(str(settings.dagster_home))


@dg.asset
def raw_media() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"films": 3})


def make_old_dagster(settings: Settings) -> None:
    """Keep a materialisation in a storage with the tables of Dagster 1.9."""
    with instance(settings) as made:
        assert dg.materialize([raw_media], instance=made).success
    engine = sqlalchemy.create_engine(settings.dagster_postgres_url)
    import dagster_postgres.run_storage.run_storage as there

    with engine.begin() as connection:
        run_alembic_downgrade(pg_alembic_config(there.__file__), connection, DAGSTER_1_9)
    engine.dispose()


def make_old_mlflow(settings: Settings) -> Path:
    """Make a store as MLflow 3.8 made it, with an experiment in it."""
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    store = settings.home / "mlflow" / "mlflow.db"
    store.parent.mkdir(exist_ok=True)
    engine = sqlalchemy.create_engine(f"sqlite:///{store}")
    Base.metadata.create_all(engine)
    config = _get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, MLFLOW_3_8)
    engine.dispose()
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "VALUES (7, 'atx', 'file:///x', 'active')"
        )
    return store


def sql(settings: Settings, statement: str) -> list[tuple[object, ...]]:
    address = settings.dagster_postgres_url.replace("+psycopg2", "")
    with psycopg.connect(address, autocommit=True) as connection:
        done = connection.execute(statement)
        return done.fetchall() if done.description else []


def test_migrations_are_read_as_alembic_reads_them() -> None:
    for package, folder in (
        ("dagster", "_core/storage/alembic"),
        ("mlflow", "store/db_migrations"),
    ):
        place = schema_upgrade._folder_of(package, folder)
        known, heads = revisions(place / "versions")
        script = ScriptDirectory(str(place))
        # Dagster has one head; what a few files of its call a head is behind it.
        assert heads == set(script.get_heads())
        assert known == {revision.revision for revision in script.walk_revisions()}
    assert (
        DAGSTER_1_9
        in revisions(schema_upgrade._folder_of("dagster", "_core/storage/alembic/versions"))[0]
    )


def test_a_new_home_has_nothing_to_bring_up_to_date(
    ready: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert dagster_age(ready) is mlflow_age(ready) is Age.NONE
    ready_stores(ready)
    with instance(ready):
        assert dagster_age(ready) is Age.CURRENT
    ready_stores(ready)
    assert "up to date" not in caplog.text


def test_dagsters_older_tables_are_brought_up_to_date_with_what_is_in_them(
    ready: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="atx_assets")
    make_old_dagster(ready)
    assert dagster_age(ready) is Age.OLDER
    column = (
        "SELECT 1 FROM information_schema.columns WHERE table_name = 'concurrency_limits' "
        "AND column_name = 'using_default_limit'"
    )
    assert sql(ready, column) == []
    ready_stores(ready)
    assert caplog.text.count("bringing Dagster's tables up to date") == 1
    assert sql(ready, column) == [(1,)]
    assert dagster_age(ready) is Age.CURRENT
    with instance(ready) as now:
        assert now.get_runs_count() == 1
        event = now.get_latest_materialization_event(dg.AssetKey("raw_media"))
        assert event.asset_materialization.metadata["films"].value == 3
        assert dg.materialize([raw_media], instance=now).success


def test_mlflows_older_store_is_brought_up_to_date_with_what_is_in_it(
    ready: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient

    caplog.set_level("INFO", logger="atx_assets")
    store = make_old_mlflow(ready)
    assert mlflow_age(ready) is Age.OLDER
    ready_stores(ready)
    assert caplog.text.count("bringing MLflow's tables up to date") == 1
    assert mlflow_age(ready) is Age.CURRENT
    assert MlflowClient(f"sqlite:///{store}").get_experiment_by_name("atx").experiment_id == "7"
    assert [path.name for path in store.parent.iterdir()] == ["mlflow.db"]


def test_an_upgrade_imports_nothing_from_the_store(ready: Settings, tmp_path: Path) -> None:
    """Kept out: a Python file beside an older store, which a restore may have put there."""
    store, seen = make_old_mlflow(ready), tmp_path / "imported"
    for name in ("mlflow", "alembic", "yaml"):
        (store.parent / f"{name}.py").write_text(f"open({str(seen)!r}, 'w')\nraise SystemExit(1)\n")
    ready_stores(ready)
    assert mlflow_age(ready) is Age.CURRENT
    assert not seen.exists()


def test_an_upgrade_of_mlflows_store_that_fails_leaves_it_as_it_was(ready: Settings) -> None:
    store = make_old_mlflow(ready)
    with closing(sqlite3.connect(store)) as connection, connection:
        # In the way of a table that the next migration makes.
        connection.execute("DROP TABLE secrets")
        connection.execute("DROP TABLE experiment_tags")
    before = store.read_bytes()
    with pytest.raises(AtxError, match=r"cannot bring .*it is unchanged: set ATX_MLFLOW=off"):
        ready_stores(ready)
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == ["mlflow.db"]


def test_dagsters_tables_of_a_later_release_are_left_alone(
    ready: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with instance(ready):
        pass
    sql(ready, f"UPDATE alembic_version SET version_num = '{LATER}'")
    with pytest.raises(
        AtxError, match=r"of Dagster in .* are from a later release of atx: install"
    ):
        ready_stores(ready)
    assert main(["run", "--job", "score"]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert "later release" in told[0]
    assert sql(ready, "SELECT version_num FROM alembic_version") == [(LATER,)]


def test_mlflows_store_of_a_later_release_is_left_alone(ready: Settings) -> None:
    store = make_old_mlflow(ready)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [LATER])
    before = store.read_bytes()
    with pytest.raises(AtxError, match=r"of MLflow in .* are from a later release of atx: install"):
        ready_stores(ready)
    assert store.read_bytes() == before
    ready_stores(replace(ready, mlflow_on=False))


def test_a_store_that_another_program_has_locked_is_whole_and_nobody_says_otherwise(
    ready: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: "restore it from a backup, or move it away", which would destroy it."""
    store = make_old_mlflow(ready)
    monkeypatch.setattr(schema_upgrade, "_PATIENCE", 0.1)
    monkeypatch.setattr(mlflow_file, "_PATIENCE", 0.1)
    monkeypatch.setattr(embedded_registry, "_WAIT", 0.1)
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('BEGIN EXCLUSIVE')"
    program += "; print('locked', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        try:
            assert other.stdout
            assert other.stdout.readline() == b"locked\n"
            for use in (
                lambda: ready_stores(ready),
                lambda: copy_store(store, store.with_name("copy")),
                lambda: reach(ready),
            ):
                with pytest.raises(AtxError) as found:
                    use()
                line = str(found.value)
                assert f"{store} is locked by python" in line
                assert f"(process {other.pid}): wait until that is done, or end it" in line
                assert "restore" not in line
        finally:
            other.kill()
    ready_stores(ready)
    assert mlflow_age(ready) is Age.CURRENT


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("database or disk is full", "make room on its disk"),
        ("disk I/O error", "its disk fails or is full: look at the system's log"),
        ("attempt to write a readonly database", "change its owner, or mount its disk"),
        ("unable to open database file", "check that it and its folder can be written to"),
        ("database disk image is malformed", "is damaged (malformed): restore a backup, or move"),
        ("file is not a database", "is damaged (file is not a database): restore a backup"),
        ("no such column: x", "cannot be used (no such column: x): `atx doctor --deep` tries"),
    ],
)
def test_each_cause_has_a_fix_of_its_own(told: str, words: str) -> None:
    """As `sqlite3` raises it, and as MLflow does, which raises all in one class."""
    from mlflow.exceptions import MlflowException

    wrapped = MlflowException(f"(sqlite3.OperationalError) {told}\n[SQL: SELECT 1]")
    for error in (sqlite3.OperationalError(told), wrapped):
        line = store_fault(Path("/h/mlflow/mlflow.db"), error)
        assert words in line.replace("(sqlite3.OperationalError) ", "")
        assert ("restore" in line) is ("damaged" in line)
        assert "\n" not in line


def test_a_store_that_is_no_database_is_one_line(ready: Settings) -> None:
    store = ready.home / "mlflow" / "mlflow.db"
    store.parent.mkdir()
    store.write_bytes(b"no database" * 1000)
    with pytest.raises(AtxError, match=r"is damaged \(file is not a database\): restore a back"):
        ready_stores(ready)

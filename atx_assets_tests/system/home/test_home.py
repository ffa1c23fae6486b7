"""The home made ready: which servers it starts, what it names, and what reaches them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from atx_assets.errors import AtxError
from atx_assets.home.home import exports, open_home, running_home, start_servers, stop_servers
from atx_assets.home.postgres.cluster import Cluster
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import ROOT, Settings, read_settings


@pytest.fixture
def settings(home: Path) -> Settings:
    return read_settings({"ATX_HOME": str(home)})


def databases(settings: Settings) -> set[str]:
    where = f"host={settings.pg_host} port={settings.pg_port} user={settings.pg_user}"
    with psycopg.connect(f"{where} dbname=postgres") as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_an_empty_environment_gets_a_server_with_both_databases(settings: Settings) -> None:
    with open_home(settings) as ready:
        assert {"media", "dagster"} <= databases(ready)
        assert ready.database.host == ready.pg_host
        where = f"dbname=dagster host={ready.pg_host} user=postgres"
        assert ready.dagster_postgres_url.startswith(
            "postgresql+psycopg2://postgres@/dagster?host="
        )
        psycopg.connect(where).close()
    assert not Cluster(settings.home).lives


def test_the_media_database_has_the_name_that_is_set(settings: Settings) -> None:
    with open_home(replace(settings, pg_db="my films")) as ready:
        assert "my films" in databases(ready)
        assert ready.pg_db == "my films"


def test_a_server_of_ones_own_gets_no_database_and_dagster_the_embedded_one(
    settings: Settings, postgres: EmbeddedPostgres
) -> None:
    own = replace(settings, pg_host=postgres.host, pg_db="never_made", pg_user="postgres")
    with open_home(own) as ready:
        assert ready.database == own.database
        assert "never_made" not in databases(ready)
        assert str(settings.home) in ready.dagster_postgres_url
        assert EmbeddedPostgres(settings.home).is_running()
    assert not EmbeddedPostgres(settings.home).is_running()


def test_with_both_servers_of_ones_own_none_is_started(
    settings: Settings, postgres: EmbeddedPostgres
) -> None:
    own = replace(settings, pg_host=postgres.host, dagster_postgres_url="postgresql://me@there/d")
    with open_home(own) as ready:
        assert not (settings.home / "postgres").exists()
        # Bare, it means psycopg 3 to SQLAlchemy, and dagster-postgres brings psycopg 2.
        assert ready.dagster_postgres_url == "postgresql+psycopg2://me@there/d"
    assert running_home(own) == ready


def test_dagsters_settings_are_the_repositorys(settings: Settings) -> None:
    ours = ROOT / "dagster.yaml"
    copy = settings.dagster_home / "dagster.yaml"
    with open_home(settings):
        assert copy.read_bytes() == ours.read_bytes()
        assert [path.name for path in settings.dagster_home.iterdir()] == ["dagster.yaml"]
    copy.write_text("nux: {enabled: true}\n")
    with open_home(settings):
        assert copy.read_bytes() == ours.read_bytes()


def test_a_shell_that_evaluated_the_exports_still_holds_the_server(settings: Settings) -> None:
    with open_home(settings) as ready:
        again = read_settings(exports(ready))
    elsewhere = "postgresql+psycopg2://me@there/d"
    for settings in (again, replace(again, dagster_postgres_url=elsewhere)):
        with open_home(settings) as held:
            assert held == settings
            assert databases(held)
    assert not Cluster(settings.home).lives


def test_the_exports_hide_an_mlflow_that_is_set_elsewhere(settings: Settings) -> None:
    assert exports(settings)["MLFLOW_HOST"] == ""
    own = replace(settings, mlflow_host="tracker", mlflow_port=5001)
    assert exports(own)["MLFLOW_HOST"] == "tracker"
    assert exports(own)["MLFLOW_PORT"] == "5001"


def test_started_servers_run_until_stopped(settings: Settings) -> None:
    with pytest.raises(AtxError, match="not running: start it with `atx start`"):
        running_home(settings)
    started = start_servers(settings)
    assert running_home(settings) == started
    assert {"media", "dagster"} <= databases(started)
    assert stop_servers(settings)
    with pytest.raises(AtxError, match="not running"):
        running_home(settings)


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = read_settings({"ATX_HOME": str(tmp_path / "file" / "home")})
    with pytest.raises(AtxError, match="set ATX_HOME"), open_home(settings):
        pass


@pytest.mark.parametrize("place", [lambda path: path / "h", lambda path: path / "a ü, b%20"])
def test_plain_dagster_reaches_its_storage_with_the_exports(
    server_folder: Path, bare_environment: dict[str, str], place: Callable[[Path], Path]
) -> None:
    settings = read_settings({"ATX_HOME": str(place(server_folder))})
    with open_home(settings) as ready:
        done = subprocess.run(
            [sys.executable, "-m", "dagster", "instance", "info"],
            env=bare_environment | exports(ready),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "PostgresRunStorage" in done.stdout or "postgres" in done.stdout
    assert str(settings.dagster_home) in done.stdout

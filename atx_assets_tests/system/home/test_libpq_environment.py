"""libpq's variables in the caller's environment: which ones count, and for whose server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import pq

from atx_assets.errors import AtxError
from atx_assets.home.dagster_storage import reach_storage
from atx_assets.home.home import exports, open_home
from atx_assets.libpq import OBEYED
from atx_assets.process_environment import settle_process
from atx_assets.settings import Database, read_settings
from atx_assets.sources.read.database import connect
from atx_assets_tests.builders.environment import bare_environment
from atx_assets_tests.builders.program import Program

#: What libpq reads besides the options of a connection.
_NO_OPTIONS = ("PGDATESTYLE", "PGGEQO", "PGLOCALEDIR", "PGSERVICEFILE", "PGSYSCONFDIR", "PGTZ")

#: Each breaks a connection to the embedded server, leads it elsewhere or changes its session.
HARMFUL = {
    "PGAPPNAME": "somebody",
    "PGCHANNELBINDING": "require",
    "PGCLIENTENCODING": "LATIN1",
    "PGCONNECT_TIMEOUT": "soon",
    "PGDATABASE": "elsewhere",
    "PGDATESTYLE": "no style",
    "PGGEQO": "perhaps",
    "PGGSSDELEGATION": "2",
    "PGGSSENCMODE": "require",
    "PGGSSLIB": "none",
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "127.0.0.1",
    "PGKRBSRVNAME": "nobody",
    "PGLOADBALANCEHOSTS": "perhaps",
    "PGLOCALEDIR": "/nonexistent",
    "PGMAXPROTOCOLVERSION": "1",
    "PGMINPROTOCOLVERSION": "latest",
    "PGOPTIONS": "-c no_such_setting=1",
    "PGPASSFILE": "/nonexistent",
    "PGPASSWORD": "of another server",
    "PGPORT": "1",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "nobody",
    "PGSERVICE": "gone",
    "PGSERVICEFILE": "/nonexistent",
    "PGSSLCERT": "/nonexistent",
    "PGSSLCERTMODE": "require",
    "PGSSLCOMPRESSION": "1",
    "PGSSLCRL": "/nonexistent",
    "PGSSLCRLDIR": "/nonexistent",
    "PGSSLKEY": "/nonexistent",
    "PGSSLMAXPROTOCOLVERSION": "TLSv0",
    "PGSSLMINPROTOCOLVERSION": "TLSv9",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLROOTCERT": "system",
    "PGSSLSNI": "0",
    "PGSYSCONFDIR": "/nonexistent",
    "PGTARGETSESSIONATTRS": "standby",
    "PGTZ": "Nowhere",
    "PGUSER": "stranger",
}

_EVERY_CLIENT = """
import json, os, subprocess, sys
from pathlib import Path
import dagster as dg
from atx_assets.process_environment import settle_process
from atx_assets.home.postgres import dumps
from atx_assets.home.home import exports, open_home
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.home.schema_upgrade import dagster_age
from atx_assets.sources.read.database import connect
from atx_assets.settings import read_settings
before = dict(os.environ)
settle_process()
with open_home(read_settings()) as ready:
    server = EmbeddedPostgres(ready.home)
    dumps.dump(server, ready.pg_db, Path(sys.argv[1]))
    with connect(ready.database, statement_timeout=60) as media:
        encoding = media.info.parameter_status("client_encoding")
    dagster_alone = "import dagster as dg; print(dg.DagsterInstance.get().get_runs_count())"
    command = [sys.executable, "-c", dagster_alone]
    runs = subprocess.check_output(command, env=before | exports(ready), text=True)
    print(json.dumps([sorted(dumps.databases(server)), encoding, runs, dagster_age(ready).name]))
"""


def test_every_variable_of_libpq_is_tried() -> None:
    """Kept out: a variable that a later libpq reads, and nobody has thought of."""
    known = {o.envvar.decode() for o in pq.Conninfo.get_defaults() if o.envvar}
    assert known | set(_NO_OPTIONS) == set(HARMFUL)
    assert set(OBEYED) <= set(HARMFUL)


def test_none_of_them_reaches_the_embedded_server(home: Path, tmp_path: Path) -> None:
    """Kept out: PGHOSTADDR, which sent a whole library to another server past the socket."""
    done = subprocess.run(
        [sys.executable, "-c", _EVERY_CLIENT, str(tmp_path / "dump")],
        env=bare_environment() | {"ATX_HOME": str(home)} | HARMFUL,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["dagster", "media", "postgres"], "UTF8", "0\n", "CURRENT"]


def test_a_shell_in_which_an_older_atx_env_was_evaluated_still_holds_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read_settings({"ATX_HOME": str(home)})
    with open_home(settings) as ready:
        before = exports(ready)
        monkeypatch.setenv("PGREQUIREAUTH", "scram-sha-256")
        with open_home(read_settings(before)) as again:
            assert (
                again.dagster_postgres_url == before["DAGSTER_POSTGRES_URL"] + "&require_auth=none"
            )
            assert reach_storage(again) == "database dagster"


def test_doctor_names_what_does_not_count(program: Program) -> None:
    told = program("doctor", PGHOSTADDR="127.0.0.1", PGPASSWORD="s3cret", PGSSLMODE="require")
    assert "note  libpq's variables: PGHOSTADDR, PGPASSWORD set, but not used: " in told.stdout
    assert "ok    media database: " in told.stdout or "note  media database: " in told.stdout
    assert "s3cret" not in told.stdout + told.stderr


# -- a server that is somebody's


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, ...]]]:
    """Sets variables, and settles them as a process does where it begins."""

    for name in HARMFUL:
        monkeypatch.delenv(name, raising=False)

    def clear() -> None:
        for name in HARMFUL:  # some are taken from `.env`, of which monkeypatch knows nothing
            os.environ.pop(name, None)

    def settle(**variables: str) -> tuple[str, ...]:
        clear()
        os.environ.update(variables)
        return settle_process()

    yield settle
    clear()


def test_an_old_demand_for_encryption_holds_and_names_of_other_programs_are_left(settled) -> None:
    """Kept out: PGREQUIRESSL=1 dropped without a word, PGID taken for one of libpq's."""
    assert settled(PGREQUIRESSL="1") == ()
    assert (os.environ["PGSSLMODE"], os.environ.get("PGREQUIRESSL")) == ("require", None)
    assert settled(PGREQUIRESSL="0") == ("PGREQUIRESSL",)
    assert "PGSSLMODE" not in os.environ
    assert settled(PGREQUIRESSL="1", PGSSLMODE="verify-full") == ()
    assert os.environ["PGSSLMODE"] == "verify-full"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGID", "1000")
        patch.setenv("PGDATA", "/somewhere")
        assert settled() == ()
        assert os.environ["PGID"] == "1000"


def test_where_a_connection_goes_is_said_by_the_settings_alone(
    tcp_database: Database, settled: Callable[..., tuple[str, ...]]
) -> None:
    ignored = {n: v for n, v in HARMFUL.items() if n not in OBEYED}
    assert settled(**ignored) == tuple(sorted(ignored))
    with connect(tcp_database, statement_timeout=5) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("owner",)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PGSSLMODE", "verify-full", "SSL"),
        ("PGREQUIREAUTH", "none", "server requested SASL authentication"),
        ("PGCHANNELBINDING", "require", "channel binding required"),
        ("PGGSSENCMODE", "require", "GSSAPI"),
    ],
)
def test_how_safe_it_must_be_holds_for_a_server_of_somebodys_and_a_failure_names_it(
    tcp_database: Database,
    settled: Callable[..., tuple[str, ...]],
    name: str,
    value: str,
    said: str,
) -> None:
    assert settled(**{name: value}) == ()
    with pytest.raises(AtxError, match=rf"{said}.*, and {name}, which also count$"):
        connect(tcp_database, statement_timeout=5)
    settings = read_settings({"DAGSTER_POSTGRES_URL": _address(tcp_database)})
    with pytest.raises(AtxError, match=rf"{name} in the environment, which apply to it too$"):
        reach_storage(settings)


def test_what_env_says_of_it_holds_too(
    settled: Callable[..., tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("PGSSLMODE=verify-full\nPGHOSTADDR=127.0.0.1\n")
    monkeypatch.setattr("atx_assets.settings.ROOT", tmp_path)
    assert settled() == ()
    assert os.environ["PGSSLMODE"] == "verify-full"
    assert "PGHOSTADDR" not in os.environ
    assert settled(PGSSLMODE="require") == ()
    assert os.environ["PGSSLMODE"] == "require"


def _address(database: Database) -> str:
    where = f"{database.host}:{database.port}/{database.name}"
    return f"postgresql://{database.user}:{quote(database.password)}@{where}"

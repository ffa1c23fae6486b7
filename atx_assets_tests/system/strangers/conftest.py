"""A house full of secrets: all that atx does, told to keep them, and all that it leaves.

Each secret is a canary: a password with what needs escaping in addresses, SQL, shells and HTML,
between two words that no escaping changes and that nobody else writes.
"""

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from atx_assets import settings as settings_module
from atx_assets.commands.doctor import settings as doctor_settings
from atx_assets.settings import Database
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.environment import unused_port
from atx_assets_tests.builders.http_server import Answering, Asked, http_server
from atx_assets_tests.builders.program import ATX, end_processes_of, run_here

WORDS = ("zq7wk9ajm", "vt4rm8bxc")


def _canary(name: str) -> str:
    return f"{WORDS[0]}%{name}/p@s's\"x:#{WORDS[1]}"


def _in_base64(word: str) -> Iterator[bytes]:
    """What of a word stands in base64, wherever in the text it begins."""
    for before in range(3):
        coded = base64.b64encode(b"x" * before + word.encode())
        yield coded[4 if before else 0 : (before + len(word)) // 3 * 4]


_SIGNS = re.compile(
    b"|".join(re.escape(sign) for word in WORDS for sign in (word.encode(), *_in_base64(word)))
)


def holds_secret(content: bytes | str) -> str:
    """Return the surroundings of a secret; nothing where there is none."""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    if found := _SIGNS.search(content) or _SIGNS.search(content.lower()):
        return content[max(0, found.start() - 160) : found.end() + 160].decode("utf-8", "replace")
    return ""


@dataclass
class House:
    """Where all lies, and what was seen; nothing of it is alive when tests look at it."""

    folder: Path
    environment: dict[str, str]
    #: What each command said, by what was done: its status, and standard output and error.
    said: dict[str, tuple[int, str]] = field(default_factory=dict)
    #: Every table of Dagster's storage, as text, its compressed columns unpacked.
    tables: dict[str, list[bytes]] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    #: Runs that were launched in the UI, by their jobs, and when each began and ended.
    launched: dict[str, str] = field(default_factory=dict)
    ran: dict[str, tuple[float, float]] = field(default_factory=dict)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    listening: set[tuple[str, int]] = field(default_factory=set)
    server_log: str = ""
    #: The process of `atx up`.
    up: int = 0
    #: Where somebody takes alerts, and everything else, and is content with nothing.
    receiver: str = ""
    backup: Path = Path()

    @property
    def home(self) -> Path:
        return self.folder / "h"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def port(self, name: str) -> int:
        return int(self.environment[name])

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield the name and the content of all that was left, with that of what is packed."""
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
            if ".env" in path.name:
                continue
            yield str(path), path.read_bytes()
            if path.suffix == ".parquet":
                yield f"{path}, unpacked", repr(pq.read_table(path).to_pylist()).encode()
        with tarfile.open(self.backup) as packed:
            for member in packed:
                content = packed.extractfile(member)
                yield f"backup: {member.name}", content.read() if content else b""

    def atx(self, what: str, *words: str, **settings: str | None) -> str:
        """Run the program in this process, verbosely, and keep all that it says.

        A setting that is None is not there.
        """
        wanted = {**self.environment, **settings}
        environment = {name: value for name, value in wanted.items() if value is not None}
        done = run_here(environment, "--verbose", *words)
        told = done.stdout + done.stderr
        self.said[what] = done.returncode, told
        return told


# -- what is done


@pytest.fixture(scope="module")
def house(
    tcp_server: Callable[..., contextlib.AbstractContextManager[Database]],
    small_library: Path,
    run_script: Callable[..., Any],
) -> Iterator[House]:
    """All of it: a load, runs that end well and badly, corrections, `atx up`, a backup."""
    with (
        tempfile.TemporaryDirectory(prefix="atx-secrets-", ignore_cleanup_errors=True) as name,
        tcp_server(_canary("owner"), connections=80) as owner,
        _receiver() as port,
        _command_lines() as commands,
    ):
        folder = Path(name)
        (folder / "tmp").mkdir()
        made = House(folder, _secrets(folder, owner, port), commands=commands, receiver=str(port))
        try:
            made.atx("load", "load", str(small_library), PG_USER="owner", PG_PASS=owner.password)
            _make_roles(owner, run_script)
            with _up(made):
                made.listening = set(_listening(made))
                _live(made)
                _launch(made, owner)
                _ask(made)
                _break(made, owner)
                _wait_for_a_failed_tick(made, owner)
            made.tables = dict(_dumped(replace(owner, name="dagster")))
            yield made
        finally:
            end_processes_of(made.home)


def _secrets(folder: Path, owner: Database, port: int) -> dict[str, str]:
    """The settings, every secret among them a canary of its own."""
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG_", "ATX_", "MLFLOW_", "DAGSTER_"))
    }
    alerts, coded = f"127.0.0.1:{port}", quote(_canary("alert"), safe="")
    storage = quote(_canary("dagster"), safe="")
    return bare | {
        "ATX_HOME": str(folder / "h"),
        "ATX_DATA_DIR": str(folder / "data"),
        "TMPDIR": str(folder / "tmp"),
        "PG_HOST": owner.host,
        "PG_PORT": str(owner.port),
        "PG_DB": owner.name,
        "PG_USER": "atx_reader",
        "PG_PASS": _canary("reader"),
        "ATX_CORRECTION_PG_USER": "atx_corrector",
        "ATX_CORRECTION_PG_PASS": _canary("corrector"),
        "DAGSTER_POSTGRES_URL": (
            f"postgresql://dagster:{storage}@{owner.host}:{owner.port}/dagster"
        ),
        "MLFLOW_HOST": "",
        "MLFLOW_TRACKING_USERNAME": "somebody",
        "MLFLOW_TRACKING_PASSWORD": _canary("mlflow"),
        "ATX_ALERT_URL": f"http://me:{coded}@{alerts}/{coded}?key={coded}",
        "ATX_ALERT_FORMAT": "json",
        "ATX_HEARTBEAT_URL": f"http://me:{coded}@{alerts}/{coded}?key={coded}",
        "ATX_SOURCE": "",
        "ATX_SEARCH": "off",
        "ATX_LABEL_QUIET_SECONDS": "3600",
        "ATX_RETRAIN_CRON": "0 0 29 2 *",
        "ATX_UI_PORT": str(unused_port()),
        "ATX_REPORT_PORT": str(unused_port()),
        "MLFLOW_PORT": str(unused_port()),
    }


def _make_roles(owner: Database, run_script: Callable[..., Any]) -> None:
    for name in ("reader", "corrector"):
        run_script(owner, f"atx_{name}")
    with opened(owner) as connection:
        connection.execute("CREATE ROLE dagster LOGIN")
        connection.execute("CREATE DATABASE dagster OWNER dagster")
        for role, name in (
            ("atx_reader", "reader"),
            ("atx_corrector", "corrector"),
            ("dagster", "dagster"),
        ):
            _set_password(connection, role, _canary(name))


def _set_password(connection: psycopg.Connection, role: str, password: str) -> None:
    connection.execute(
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
    )


def _live(house: House) -> None:
    """What ends well, beside `atx up`; MLflow is reached with a password in its address."""
    coded = quote(_canary("mlflow"), safe="")
    house.atx("run", "run", MLFLOW_HOST=f"http://me:{coded}@127.0.0.1")
    house.atx("doctor", "doctor")
    house.atx("test alert", "doctor", "--send-test-alert")
    with _env_file(house) as names:
        house.atx("doctor with .env", "doctor", **dict.fromkeys(names))
        house.backup = house.folder / "backup.tar.gz"
        house.atx("backup", "backup", str(house.backup), **dict.fromkeys(names))
    house.atx("correct", "correct", "keep", "--write", *_some_ids(house))
    house.atx("undo", "correct", "undo", "1", "--write")
    house.atx("list", "correct", "list")


@contextlib.contextmanager
def _env_file(house: House) -> Iterator[list[str]]:
    """A `.env` where atx looks for one, and where none may be packed from; what is in it."""
    secret = {n: v for n, v in house.environment.items() if _SIGNS.search(v.encode())}
    escaped = {n: v.replace("\\", "\\\\").replace("'", "\\'") for n, v in secret.items()}
    text = "".join(f"{name}='{value}'\n" for name, value in escaped.items())
    for folder in (house.folder, house.home, house.data):
        (folder / ".env").write_text(text)
        (folder / ".env").chmod(0o644)  # which doctor is to speak of
    with pytest.MonkeyPatch.context() as patch:
        for module in (settings_module, doctor_settings):
            patch.setattr(module, "ROOT", house.folder)
        yield list(secret)


def _some_ids(house: House) -> list[str]:
    rows = pq.read_table(house.data / "media.parquet", columns=["imdb_id"])
    return [i for i in rows["imdb_id"].to_pylist() if i][:2]


def _break(house: House, owner: Database) -> None:
    """What fails, and tells why."""
    port, wrong = str(unused_port()), _canary("wrong")
    coded = quote(wrong, safe="")
    only = ("run", "--select", "raw_media")
    house.atx("wrong password", *only, PG_PASS=wrong)
    house.atx("stranger", *only, PG_USER="stranger")
    house.atx("host down", *only, PG_PORT=port)
    house.atx("no such host", *only, PG_HOST="nowhere.invalid")
    house.atx("wrong corrector", "correct", "keep", "tt0000001", ATX_CORRECTION_PG_PASS=wrong)
    house.atx("doctor, wrong passwords", "doctor", PG_PASS=wrong, ATX_CORRECTION_PG_PASS=wrong)
    where = f"127.0.0.1:{house.environment['PG_PORT']}/dagster"
    for what, url in {
        "storage: wrong password": f"postgresql://dagster:{coded}@{where}",
        "storage: not escaped": f"postgresql://dagster:{wrong}@{where}",
        "storage: no address": wrong,
    }.items():
        house.atx(what, *only, DAGSTER_POSTGRES_URL=url)
        house.atx(f"{what}, doctor", "doctor", DAGSTER_POSTGRES_URL=url)
    train = ("run", "--select", "tuned_classifier")
    for what, host, at in (
        ("mlflow: down", f"http://me:{coded}@127.0.0.1", port),
        ("mlflow: locked", f"http://locked:{coded}@127.0.0.1", house.receiver),
        ("mlflow: failing", f"http://me:{coded}@127.0.0.1", house.receiver),
        ("mlflow: not escaped", f"http://me:{wrong}@127.0.0.1", port),
        ("mlflow: no host", wrong, port),
    ):
        # The password in the address is the one that is sent.
        others = dict.fromkeys(("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"))
        house.atx(what, *train, MLFLOW_HOST=host, MLFLOW_PORT=at, **others)
    house.atx(
        "mlflow: failing, doctor",
        "doctor",
        MLFLOW_HOST=f"http://me:{coded}@127.0.0.1",
        MLFLOW_PORT=house.receiver,
    )
    house.atx(
        "alert: down",
        "doctor",
        "--send-test-alert",
        ATX_ALERT_URL=f"http://me:{coded}@127.0.0.1:{port}/{coded}",
    )
    house.atx(
        "alert: not escaped",
        "doctor",
        "--send-test-alert",
        ATX_ALERT_URL=f"http://me:{wrong}@127.0.0.1:{port}/{wrong}",
    )
    house.atx("alert: no address", "doctor", ATX_ALERT_URL=wrong)
    with opened(owner) as connection:
        connection.execute("REVOKE SELECT ON atp.media FROM atx_reader")
        house.atx("permission denied", *only)
        connection.execute("GRANT SELECT ON atp.media TO atx_reader")
        connection.execute("ALTER TABLE atp.media RENAME TO kept")
        connection.execute(
            "CREATE VIEW atp.media AS SELECT *, 1 / (rt_score - rt_score) AS x FROM atp.kept"
        )
        connection.execute("GRANT SELECT ON atp.media TO atx_reader")
        house.atx("error in SQL", *only)


def _launch(house: House, owner: Database) -> None:
    """Runs in processes of their own, as the UI starts them."""
    text = (
        "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {"
        " ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"
    )
    place = {"repositoryName": "__repository__", "repositoryLocationName": "atx"}
    correction = {"ops": {"correct": {"config": {"ids": _some_ids(house), "verdict": "skip"}}}}
    for job, config in (("full_rebuild", {}), ("score", {}), ("correct_labels", correction)):
        wanted = {"selector": {"jobName": job, **place}, "runConfigData": config}
        body = json.dumps({"query": text, "variables": {"p": wanted}}).encode()
        url = f"http://127.0.0.1:{house.port('ATX_UI_PORT')}/graphql"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            house.launched[job] = json.load(answer)["data"]["launchRun"]["run"]["runId"]
    with opened(replace(owner, name="dagster")) as storage:
        end = time.monotonic() + 240
        asked = "SELECT status FROM runs WHERE run_id = ANY (%s)"
        while statuses := [s for (s,) in storage.execute(asked, (list(house.launched.values()),))]:
            if set(statuses) == {"SUCCESS"}:
                break
            assert not {"FAILURE", "CANCELED"} & set(statuses), statuses
            assert time.monotonic() < end, statuses
            time.sleep(0.2)
        asked = "SELECT start_time, end_time FROM runs WHERE run_id = %s"
        for job, run in house.launched.items():
            (house.ran[job],) = storage.execute(asked, (run,)).fetchall()


def _wait_for_a_failed_tick(house: House, owner: Database) -> None:
    """Lock the reader out, and wait until a sensor of `atx up` has told of it."""
    with opened(owner) as connection:
        _set_password(connection, "atx_reader", _canary("changed"))
    asked = "SELECT count(*) FROM job_ticks WHERE tick_body LIKE '%wrong password%'"
    with opened(replace(owner, name="dagster")) as connection:
        end = time.monotonic() + 90
        while connection.execute(asked).fetchone() == (0,):
            assert time.monotonic() < end, "no tick has failed"
            time.sleep(0.2)
    log = Path(_setting(owner, "data_directory")).parent / "log"
    house.server_log = log.read_text()


def _setting(owner: Database, name: str) -> str:
    with opened(owner) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row
    return str(row[0])


# -- `atx up`, and what is asked of it


@contextlib.contextmanager
def _up(house: House) -> Iterator[None]:
    lines: list[str] = []
    up = subprocess.Popen(
        [*ATX, "--verbose", "up"],
        env=house.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert up.stdout
    reader = threading.Thread(target=lambda: lines.extend(up.stdout or ()), daemon=True)
    reader.start()
    try:
        end = time.monotonic() + 240
        while "Ctrl-C ends everything\n" not in lines:
            assert up.poll() is None, lines
            assert time.monotonic() < end, lines
            time.sleep(0.1)
        house.up = up.pid
        yield
    finally:
        up.send_signal(signal.SIGINT)
        try:
            status = up.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(up.pid, signal.SIGKILL)
            status = up.wait()
        reader.join(10)
    house.said["up"] = status, "".join(lines)


def _listening(house: House) -> Iterator[tuple[str, int]]:
    up = psutil.Process(house.up)
    for process in (up, *up.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            for found in process.net_connections(kind="inet"):
                if found.status == psutil.CONN_LISTEN or not found.raddr:
                    yield found.laddr.ip, found.laddr.port


def _ask(house: House) -> None:
    """Ask each server as its own page, as a program, and as pages of others do."""

    def asked(
        what: str, port: str, method: str, path: str, body: Any = None, **headers: str
    ) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", house.port(port), timeout=60)
        sent = {"Host": f"127.0.0.1:{house.port(port)}"}
        sent |= {"Content-Type": "application/json"} if body else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, json.dumps(body) if body else None, sent)
        answer = connection.getresponse()
        house.answers[what] = answer.status, answer.read().decode("utf-8", "replace")
        connection.close()

    ui, mlflow, report = "ATX_UI_PORT", "MLFLOW_PORT", "ATX_REPORT_PORT"
    pages = {
        "origin": {"Origin": "http://evil.example"},
        "null": {"Origin": "null"},
        "name": {"Host": "evil.example"},
        "picture": {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"},
    }
    info = {"query": "{ instance { info } runsOrError { __typename } }"}
    pause = {"query": 'mutation { setConcurrencyLimit(concurrencyKey: "%s", limit: 1) }'}
    make = "/ajax-api/2.0/mlflow/experiments/create"
    for how, headers in pages.items():
        taken = {"query": pause["query"] % how}
        asked(f"foreign: dagster, {how}", ui, "POST", "/graphql", taken, **headers)
        asked(f"foreign: mlflow, {how}", mlflow, "POST", make, {"name": how}, **headers)
        asked(f"foreign: report, {how}", report, "GET", "/", **headers)
    query = quote(pause["query"] % "address")
    asked("foreign: dagster, address", ui, "GET", f"/graphql?query={query}")
    asked("foreign: mlflow, address", mlflow, "GET", f"{make}?name=address", **pages["picture"])
    for how, headers in {"program": {}, "page": {"Origin": "http://127.0.0.1:{}"}}.items():
        for port, name, path, body in (
            (ui, "dagster", "/graphql", {"query": pause["query"] % how}),
            (mlflow, "mlflow", make, {"name": how}),
        ):
            own = {n: v.format(house.port(port)) for n, v in headers.items()}
            asked(f"own: {name}, {how}", port, "POST", path, body, **own)
    asked("own: report", report, "GET", "/")
    asked("own: what Dagster says of itself", ui, "POST", "/graphql", info)
    asked(
        "made: dagster",
        ui,
        "POST",
        "/graphql",
        {"query": "{ instance { concurrencyLimits { concurrencyKey } } }"},
    )
    asked("made: mlflow", mlflow, "GET", "/ajax-api/2.0/mlflow/experiments/search?max_results=50")


# -- what is looked at


def _dumped(database: Database) -> Iterator[tuple[str, list[bytes]]]:
    with opened(database) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
        )
        for (name,) in names.fetchall():
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
            yield name, [_as_bytes(value) for row in rows for value in row if value is not None]


def _as_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        return str(value).encode()
    with contextlib.suppress(zlib.error):
        return zlib.decompress(value)
    return value


@contextlib.contextmanager
def _command_lines() -> Iterator[set[str]]:
    """Every command line of this machine's processes, looked at again and again."""
    seen, ended = set[str](), threading.Event()
    looks = Counter[int]()

    def look() -> None:
        while not ended.wait(0.05):
            # A process changes its command line as it starts, within seconds, and then no more.
            for pid in psutil.pids():
                if looks[pid] < 60:
                    looks[pid] += 1
                    with contextlib.suppress(psutil.Error):
                        seen.add(" ".join(psutil.Process(pid).cmdline()))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def _receiver() -> Iterator[int]:
    """One who takes alerts, and refuses each; and an MLflow that is well, and can do nothing."""

    def refuse(request: Asked, answering: Answering) -> None:
        sent = request.headers.get("authorization", "").removeprefix("Basic ")
        if base64.b64decode(sent).startswith(b"locked"):
            answering.send_error(401)
        else:
            answering.send_error(200 if request.path == "/health" else 500)

    with http_server(refuse) as server:
        yield server.port


@pytest.fixture(scope="session")
def leak() -> Callable[[bytes | str], str]:
    """Finds a secret in whatever form; returns its surroundings, or nothing."""
    return holds_secret


@pytest.fixture(scope="session")
def canary() -> Callable[[str], str]:
    """Makes a secret, by a name of its own."""
    return _canary

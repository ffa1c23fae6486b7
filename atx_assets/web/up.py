"""`atx up`: the Dagster UI with its daemon, MLflow's UI, and the report, on one home until Ctrl-C.

Not here: how children are started and ended (`processes.py`), which of them are Dagster's
(`dagster_processes.py`), what happens if one of them or PostgreSQL dies (`healing.py`), and the
guard inside their web servers (`guarded.py`).
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from atx_assets.errors import AtxError, Stopped
from atx_assets.home.home import exports, open_home, prepare
from atx_assets.home.schema_upgrade import ready_stores
from atx_assets.models.mlflow_server import store_uri
from atx_assets.settings import Settings, guessed_zone
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.locks import try_lock, unlock
from atx_assets.web.dagster_processes import WEBSERVER, start_dagster
from atx_assets.web.guard import Hosts, open_to_others
from atx_assets.web.healing import Healing, ready_records
from atx_assets.web.processes import Children, answers_http, free_port, refuses_strangers
from atx_assets.web.report_server import report_server

#: Seconds until a server must answer for the first time; MLflow creates its tables meanwhile.
_START = 300.0

#: The longest path of a folder in bytes, so that sockets in it (`/tmp` and 8 letters) are usable.
_LONGEST_FOLDER = 85

logger = logging.getLogger(__name__)


def up(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the UIs until Ctrl-C or a signal; then end them all. Ctrl-C is never a failure.

    Raises:
        Stopped: another signal asked the process to end.
        AtxError: ATX_RETRAIN_CRON cannot be used, another `atx up` uses this home, a server ended
            or did not answer during the start, or a process dies again and again.
    """
    try:
        _run_until_stopped(settings, say)
    except Stopped as stop:
        if stop.signum != signal.SIGINT:
            raise


def _run_until_stopped(settings: Settings, say: Callable[[str], None]) -> None:
    from atx_assets.defs.schedules import nightly_schedule

    # Checked first: with an invalid time the code cannot be loaded, and the UI would open with
    # nothing running by itself.
    nightly_schedule(settings)
    with _only_one(settings) as record, open_home(settings) as opened:
        (opened.home / "logs").mkdir(mode=0o700, exist_ok=True)
        ready = _on_free_ports(opened, say)
        ready_stores(ready)
        ready_records(ready, say)
        if guess := guessed_zone():
            say(f"WARNING: {guess}; until then nights are in {ready.automation.timezone}")
        say(f"starting Dagster{' and MLflow' if _shows_mlflow(ready) else ''}: half a minute …")
        children = Children(ready.home / "logs")
        report = DataFolder(ready.data_dir).path("analysis_report")
        try:
            with report_server(report, ready) as report_url, _private(ready.home) as folder:
                ui = f"http://{ready.web_host}:{ready.ui_port}"
                record(ui)
                mlflow = _start_mlflow(ready, children, folder) if _shows_mlflow(ready) else ""
                start_dagster(ready, children, folder, _START)
                children.wait_until(lambda: answers_http(f"{ui}/server_info"), WEBSERVER, _START)
                if mlflow:
                    children.wait_until(lambda: answers_http(f"{mlflow}/health"), "MLflow", _START)
                _check_guard(f"{ui}/server_info", *([f"{mlflow}/health"] if mlflow else []))
                if warning := open_to_others(ready):
                    say(f"WARNING: {warning}")
                say(f"Dagster {ui}" + (f"   MLflow {mlflow}" if mlflow else ""))
                say(f"report  {report_url}")
                say(f"home {ready.home}   data {ready.data_dir}")
                say("Ctrl-C ends everything")
                healing = Healing(ready, children, say)
                while True:
                    healing.look()
                    time.sleep(0.5)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):  # the terminal is gone, after SIGHUP
                say("ending everything: a few seconds …")
            raise
        finally:
            _let_finish()
            children.end()


def _shows_mlflow(settings: Settings) -> bool:
    return settings.mlflow_on and not settings.mlflow_host


def _on_free_ports(settings: Settings, say: Callable[[str], None]) -> Settings:
    """Return the settings with free ports: runs put these addresses on their pages."""
    ui = _port("Dagster", settings.ui_port, "ATX_UI_PORT", settings, say)
    report = _port("the report", settings.report_port, "ATX_REPORT_PORT", settings, say)
    settings = replace(settings, ui_port=ui, report_port=report)
    if not _shows_mlflow(settings):
        return settings
    mlflow = _port("MLflow", settings.mlflow_port, "MLFLOW_PORT", settings, say)
    return replace(settings, mlflow_port=mlflow)


def _start_mlflow(settings: Settings, children: Children, folder: Path) -> str:
    store = settings.home / "mlflow"
    (store / "artifacts").mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "atx"]
    command += [
        "--host",
        settings.bind,
        "--port",
        str(settings.mlflow_port),
        "--workers",
        "1",
        "--no-serve-artifacts",
    ]
    # In addition to the guard: MLflow's own check alone allows any port of this machine, and
    # everything that is not under /api.
    names = Hosts.of(settings, settings.mlflow_port).patterns()
    origins = [f"{scheme}://{name}" for scheme in ("http", "https") for name in names]
    command += ["--allowed-hosts", ",".join(names), "--cors-allowed-origins", ",".join(origins)]
    command += ["--backend-store-uri", store_uri(store / "mlflow.db")]
    command += ["--default-artifact-root", str(store / "artifacts")]
    # Its background jobs, which evaluate language models, take eight processes and over a gigabyte.
    environment = os.environ | exports(settings) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # Python imports from its current folder: it must not be the store, which a restore fills.
    children.start("MLflow", command, environment=environment, folder=folder)
    return f"http://{settings.web_host}:{settings.mlflow_port}"


@contextlib.contextmanager
def _private(home: Path) -> Iterator[Path]:
    """Create a folder that only its owner can enter, with a path short enough for sockets."""
    folder = home / "tmp"
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        folder = Path(tempfile.mkdtemp(prefix="atx-"))
    else:
        shutil.rmtree(folder, ignore_errors=True)  # the leftovers of a killed `atx up`
        folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_guard(*urls: str) -> None:
    for url in urls:
        if not refuses_strangers(url):
            raise AtxError(
                f"{url} answers strangers, and would obey any page that you visit: this version "
                "of Dagster or MLflow starts its web server in another way; install "
                "requirements.txt"
            )


def _port(
    name: str, wanted: int, setting: str, settings: Settings, say: Callable[[str], None]
) -> int:
    port = free_port(wanted, settings.bind)
    if port != wanted:
        say(f"port {wanted} is taken: {name} uses {port} (set another with {setting})")
    return port


@contextlib.contextmanager
def _only_one(settings: Settings) -> Iterator[Callable[[str], None]]:
    """Keep a second `atx up` off the home; yield a function that records our address for it."""
    prepare(settings)
    locks = settings.home / "locks"
    locks.mkdir(mode=0o700, exist_ok=True)
    fd = try_lock(locks / "up")
    if fd is None:
        raise AtxError(
            f"`atx up` is already running on {settings.home}{_who(locks / 'up')}: "
            "use that one, or end it first"
        )

    def record(url: str) -> None:
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"pid": os.getpid(), "url": url}).encode(), 0)

    try:
        record("")
        yield record
    finally:
        unlock(fd)


def _who(lock: Path) -> str:
    try:
        first = json.loads(lock.read_text())
        return f" (pid {first['pid']}{', ' * bool(first['url'])}{first['url']})"
    except (ValueError, KeyError):
        return ""  # that `atx up` is just writing it


def _let_finish() -> None:
    """Ignore further signals: a second Ctrl-C would leave processes that the first is ending."""
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, signal.SIG_IGN)

"""`atx up`: what it opens, and that nothing of it is left, however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from atx_assets.errors import AtxError
from atx_assets.home.postgres.cluster import Cluster
from atx_assets.web.processes import Children, answers_http, free_port
from atx_assets_tests.builders.environment import unused_port, wait_until
from atx_assets_tests.builders.program import ATX

COMMAND = [*ATX, "up"]

#: Ends neither on TERM itself nor in its own child, as a server that hangs.
STUBBORN = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait; wait"


@pytest.fixture
def environment(home: Path, bare_environment: dict[str, str]) -> dict[str, str]:
    names = ("ATX_UI_PORT", "ATX_REPORT_PORT", "MLFLOW_PORT")
    ports = {name: str(unused_port()) for name in names}
    return bare_environment | ports | {"ATX_HOME": str(home)}


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def sh(children: Children, script: str, tmp_path: Path) -> psutil.Process:
    command = ["sh", "-c", script]
    child = children.start("Shell", command, environment=dict(os.environ), folder=tmp_path)
    return psutil.Process(child.process.pid)


# -- children


def test_a_grandchild_that_will_not_end_is_killed(children: Children, tmp_path: Path) -> None:
    child = sh(children, STUBBORN, tmp_path)
    wait_until(
        lambda: (tmp_path / "shell.log").read_text().strip().isdigit(), "what was to come", 10
    )
    grandchild = int((tmp_path / "shell.log").read_text())
    started = time.monotonic()
    children.end()
    assert time.monotonic() - started < 7
    wait_until(lambda: gone(child.pid) and gone(grandchild), "what was to come", 10)


def test_a_child_that_dies_is_named_with_the_end_of_its_log(
    children: Children, tmp_path: Path
) -> None:
    sh(children, "echo one; echo; echo the cause >&2; exit 3", tmp_path)
    with pytest.raises(AtxError, match=r"^Shell ended with status 3: one \| the cause \(log: "):
        children.wait_until(lambda: False, "Shell", 10)


def test_a_child_that_never_answers_is_not_waited_for_for_ever(
    children: Children, tmp_path: Path
) -> None:
    sh(children, "echo loading; exec sleep 60", tmp_path)
    with pytest.raises(AtxError, match=r"Shell did not answer within 0 s: loading"):
        children.wait_until(lambda: False, "Shell", 0.3)


def test_children_end_when_their_starter_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys, time\n"
        "from atx_assets.web.processes import Children\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "for name in ('a', 'b'):\n"
        "    command = ['sh', '-c', 'sleep 600 & echo $!; echo $$; wait']\n"
        "    Children(folder).start(name, command, environment=dict(os.environ), folder=folder)\n"
        "(folder / 'started').touch()\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    # A child lives some milliseconds before its watcher knows of it.
    wait_until((tmp_path / "started").exists, "what was to come", 10)
    wait_until(
        lambda: all(log.exists() and len(log.read_text().split()) == 2 for log in logs),
        "what was to come",
        10,
    )
    pids = [int(pid) for log in logs for pid in log.read_text().split()]
    starter.kill()
    starter.wait()
    wait_until(lambda: all(gone(pid) for pid in pids), "what was to come", 10)


def test_a_child_that_was_started_again_ends_too_when_its_starter_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys, time\n"
        "from atx_assets.web.processes import Children\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "children = Children(folder)\n"
        "for name in ('a', 'b', 'a'):\n"
        "    for child in children:\n"
        "        if child.name == name:\n"
        "            children.end_one(child)\n"
        "    command = ['sh', '-c', 'echo $$; exec sleep 600']\n"
        "    children.start(name, command, environment=dict(os.environ), folder=folder)\n"
        "    time.sleep(0.5)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    logs = [tmp_path / name for name in ("a.log", "b.log", "a.log.1")]
    wait_until(
        lambda: all(log.exists() and log.read_text().strip() for log in logs),
        "what was to come",
        10,
    )
    a, b, before = (int(log.read_text()) for log in logs)
    assert gone(before)
    assert not gone(a)
    starter.kill()
    starter.wait()
    wait_until(lambda: gone(a) and gone(b), "what was to come", 10)


def test_a_taken_port_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port


def test_nobody_answering_is_no_failure() -> None:
    assert not answers_http(f"http://127.0.0.1:{unused_port()}/")


def test_a_signal_in_the_middle_of_a_start_leaves_no_child(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []

    class Interrupted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        sh(children, "exec sleep 60", tmp_path)
    monkeypatch.undo()
    children.end()
    assert started
    assert all(gone(pid) for pid in started)


# -- the whole of it


class Up:
    """`atx up` in a process group of its own, its lines read as they come."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            COMMAND,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def ready(self) -> bool:
        assert self.process.poll() is None, self.lines
        return "Ctrl-C ends everything" in self.lines

    def ended(self, seconds: float) -> int:
        status = self.process.wait(seconds)
        self._reader.join()
        return status


@pytest.fixture
def up(environment: dict[str, str]) -> Iterator[Up]:
    started = Up(environment)
    yield started
    if started.process.poll() is None:
        started.process.kill()
    started.ended(10)


def descendants(up: Up) -> list[psutil.Process]:
    return psutil.Process(up.process.pid).children(recursive=True)


@pytest.fixture
def restored_module(home: Path) -> None:
    """A file in MLflow's store, as a backup may have it, that is called like a module of Python's.

    Kept out: servers started in the store imported it.
    """
    (home / "mlflow").mkdir(parents=True)
    for name in ("yaml", "uvicorn"):
        (home / "mlflow" / f"{name}.py").write_text("raise SystemExit('a restored file was run')")


@pytest.mark.usefixtures("restored_module")
def test_up_opens_both_and_ctrl_c_leaves_no_process(
    home: Path, environment: dict[str, str], up: Up
) -> None:
    wait_until(up.ready, "what was to come", 240)
    ui = f"http://127.0.0.1:{environment['ATX_UI_PORT']}"
    mlflow = f"http://127.0.0.1:{environment['MLFLOW_PORT']}"
    assert f"Dagster {ui}   MLflow {mlflow}" in up.lines
    assert loaded_locations(ui) == {"atx": "RepositoryLocation"}
    assert answers_http(f"{mlflow}/")

    (serving,) = serving_code(up)
    assert reload_location(ui) == "WorkspaceLocationEntry"
    wait_until(lambda: gone(serving.pid), "the end of what served the code before", 30)
    assert len(serving_code(up)) == 1
    assert loaded_locations(ui) == {"atx": "RepositoryLocation"}

    second = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert second.stderr == (
        f"atx: `atx up` is already running on {home} (pid {up.process.pid}, {ui}): "
        "use that one, or end it first\n"
    )

    started = descendants(up)
    assert len(started) > 10  # both servers with theirs, and PostgreSQL's
    up.process.send_signal(signal.SIGINT)
    assert up.ended(60) == 0
    assert [process for process in started if not gone(process.pid)] == []
    assert not Cluster(home).lives


@pytest.mark.parametrize(
    ("name", "value"), [("ATX_RETRAIN_CRON", "2:00"), ("ATX_TIMEZONE", "Europe/Nowhere")]
)
def test_up_refuses_a_night_that_cannot_be(
    environment: dict[str, str], name: str, value: str
) -> None:
    """Kept out: a UI that opens, and code that cannot be loaded: no sensor, no night, no alert."""
    wrong = environment | {name: value}
    # One that is not refused would stay open.
    done = subprocess.run(
        COMMAND, env=wrong, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"atx: {name} is not ")
    assert len(done.stderr.splitlines()) == 1


def test_up_that_is_killed_takes_its_children_along(home: Path, up: Up) -> None:
    wait_until((home / "logs" / "mlflow.log").exists, "what was to come", 60)
    wait_until(lambda: len(groups_of(up)) >= 3, "what was to come", 10)
    time.sleep(2)
    started = [process for process in descendants(up) if "postgres" not in process.name()]
    up.process.kill()
    wait_until(lambda: all(gone(process.pid) for process in started), "what was to come", 15)
    assert Cluster(home).lives  # until the next user leaves


def test_the_death_of_one_ends_all(home: Path, up: Up) -> None:
    wait_until((home / "logs" / "mlflow.log").exists, "what was to come", 60)
    wait_until(
        lambda: any("mlflow" in " ".join(p.cmdline()) for p in descendants(up)),
        "what was to come",
        10,
    )
    started = descendants(up)
    next(p for p in started if "mlflow" in " ".join(p.cmdline())).kill()
    assert up.ended(60) == 1
    assert up.lines[-1].startswith("atx: MLflow ended with signal 9: ")
    assert [process for process in started if not gone(process.pid)] == []
    assert not Cluster(home).lives


def test_up_asked_to_terminate_while_it_starts_leaves_no_process(home: Path, up: Up) -> None:
    wait_until((home / "logs" / "dagster.log").exists, "what was to come", 60)
    wait_until(lambda: len(groups_of(up)) >= 2, "what was to come", 10)
    started = descendants(up)
    up.process.terminate()
    assert up.ended(60) == 128 + signal.SIGTERM
    assert [process for process in started if not gone(process.pid)] == []
    assert not Cluster(home).lives


def groups_of(up: Up) -> set[int]:
    """The process groups of what was started, PostgreSQL's processes aside."""
    found = set()
    for process in descendants(up):
        try:
            if "postgres" not in process.name():
                found.add(os.getpgid(process.pid))
        except (psutil.Error, ProcessLookupError):
            continue
    return found


def serving_code(up: Up) -> list[psutil.Process]:
    """The processes that have loaded our code for Dagster."""
    live = [process for process in descendants(up) if not gone(process.pid)]
    return [process for process in live if "dagster api grpc" in " ".join(process.cmdline())]


def ask(ui: str, query: str) -> Any:
    request = urllib.request.Request(
        f"{ui}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["data"]


def loaded_locations(ui: str) -> dict[str, str]:
    """What the code locations are by name; a PythonError is one that failed to load."""
    query = (
        "{ workspaceOrError { ... on Workspace { locationEntries "
        "{ name locationOrLoadError { __typename } } } } }"
    )
    entries = ask(ui, query)["workspaceOrError"]["locationEntries"]
    return {entry["name"]: entry["locationOrLoadError"]["__typename"] for entry in entries}


def reload_location(ui: str) -> str:
    """Do what "Reload definitions" does in the UI; say what came of it."""
    query = 'mutation { reloadRepositoryLocation(repositoryLocationName: "atx") { __typename } }'
    return str(ask(ui, query)["reloadRepositoryLocation"]["__typename"])

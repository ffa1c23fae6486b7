"""What `atx up` does when a child of it dies; with the real ones in `faults`."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from dagster_postgres.utils import DagsterPostgresException

from atx_assets.errors import AtxError, DatabaseError
from atx_assets.settings import Settings, read_settings
from atx_assets.web import healing
from atx_assets.web.dagster_processes import CODE_SERVER, DAEMON, WEBSERVER, serves_code
from atx_assets.web.healing import Healing
from atx_assets.web.processes import Child, Children

#: Starts a child, as Dagster's code server does, and tells its number.
WITH_CHILD = "sleep 600 & echo $!; wait; exec sleep 600"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with servers elsewhere: there is no embedded one to look after."""
    url = "postgresql+psycopg2://x@127.0.0.1:1/dagster"
    return read_settings(
        {"ATX_HOME": str(tmp_path), "PG_HOST": "127.0.0.1", "DAGSTER_POSTGRES_URL": url}
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def healer(settings: Settings, children: Children, said: list[str]) -> Healing:
    return Healing(settings, children, said.append)


class Storage:
    """Stands for Dagster's: it can be taken away, also while the records in it are put right."""

    def __init__(self) -> None:
        self.away = self.goes_again = False
        #: For each time that the records were put right: whether runs that begin are dead, too.
        self.readied: list[bool] = []

    def reach(self, _: Settings) -> str:
        if self.away:
            raise DatabaseError("Dagster's storage cannot be reached (there)")
        return ""

    def ready_records(self, *_: object, starting_too: bool) -> None:
        if self.goes_again:
            raise DagsterPostgresException("too many retries for DB connection")
        self.readied.append(starting_too)


@pytest.fixture(autouse=True)
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """What stands for Dagster's storage; nobody waits between two looks."""
    found = Storage()
    monkeypatch.setattr(healing, "reach_storage", found.reach)
    monkeypatch.setattr(healing, "ready_records", found.ready_records)
    monkeypatch.setattr(healing, "_INTERVAL", 0.0)
    return found


def start(children: Children, script: str, folder: Path, name: str = "Shell") -> None:
    command = ["sh", "-c", script]
    children.start(name, command, environment=dict(os.environ), folder=folder)


def pid_of(children: Children) -> int:
    (child,) = children
    return child.process.pid


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def number_in(log: Path) -> int:
    wait_until(lambda: log.exists() and log.read_text().strip().isdigit())
    return int(log.read_text())


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_child_that_dies_is_started_again_and_told_of(
    children: Children, healer: Healing, said: list[str], tmp_path: Path
) -> None:
    start(children, "sleep 600 & echo $!; wait", tmp_path)
    left_over = number_in(tmp_path / "shell.log")
    killed = pid_of(children)
    healer.look()
    assert pid_of(children) == killed
    psutil.Process(killed).kill()
    wait_until(lambda: gone(killed))
    healer.look()
    assert pid_of(children) != killed
    assert said == [f"Shell ended with signal 9: {left_over}: started again"]
    assert gone(left_over)
    assert (tmp_path / "shell.log.1").read_text() == f"{left_over}\n"


def test_a_child_that_dies_again_and_again_ends_all(
    children: Children, healer: Healing, said: list[str], tmp_path: Path
) -> None:
    start(children, "echo the cause; exit 3", tmp_path)

    def look_for_ever() -> None:
        while True:
            healer.look()
            time.sleep(0.01)

    with pytest.raises(AtxError, match=r"^Shell ended with status 3: the cause, for the 4th time"):
        look_for_ever()
    assert len(said) == 3


def test_dagster_whose_code_server_is_gone_is_started_again(
    children: Children, healer: Healing, said: list[str], tmp_path: Path
) -> None:
    start(children, WITH_CHILD, tmp_path, CODE_SERVER)
    code, before = number_in(tmp_path / "dagster-code-server.log"), pid_of(children)
    for _ in range(5):
        healer.look()
    assert pid_of(children) == before
    psutil.Process(code).kill()
    wait_until(lambda: gone(code))
    healer.look()  # one that is loaded anew may be missing for a moment
    assert pid_of(children) == before
    healer.look()
    assert pid_of(children) != before
    assert said == ["Dagster's code server was gone: started again"]


def test_a_process_that_is_dead_and_not_waited_for_serves_no_code(
    children: Children, tmp_path: Path
) -> None:
    """Kept out: Dagster's code server never waits for the one below it, which stays a zombie."""
    start(children, "sleep 600 & echo $!; exec sleep 600", tmp_path, CODE_SERVER)
    code = number_in(tmp_path / "dagster-code-server.log")
    (child,) = children
    assert serves_code(child)
    psutil.Process(code).kill()
    wait_until(lambda: gone(code))
    assert not serves_code(child)


def pids(children: Children) -> dict[str, int]:
    return {child.name: child.process.pid for child in children}


def dagster(children: Children, folder: Path) -> dict[str, Child]:
    """What stands for the three processes of Dagster, by name."""
    for name in (CODE_SERVER, DAEMON, WEBSERVER):
        start(children, "exec sleep 600", folder, name)
    return {child.name: child for child in children}


@pytest.mark.parametrize("name", [CODE_SERVER, DAEMON, WEBSERVER])
def test_one_process_of_dagster_that_dies_leaves_the_others_alone(
    children: Children,
    healer: Healing,
    said: list[str],
    storage: Storage,
    tmp_path: Path,
    name: str,
) -> None:
    """Kept out: a run that is lost because the UI died, or counts as dead while it begins."""
    killed, before = dagster(children, tmp_path)[name], pids(children)
    killed.process.kill()
    wait_until(lambda: gone(killed.process.pid))
    healer.look()
    assert {known for known, pid in pids(children).items() if before[known] != pid} == {name}
    assert said == [f"{name} ended with signal 9: (empty): started again"]
    assert storage.readied == [name == CODE_SERVER]


def test_a_clock_that_is_set_back_has_the_daemon_started_again_and_no_other(
    children: Children, healer: Healing, said: list[str], tmp_path: Path
) -> None:
    dagster(children, tmp_path)
    before = pids(children)
    healer._clock += 3600
    healer.look()
    healer.look()
    assert {known for known, pid in pids(children).items() if before[known] != pid} == {DAEMON}
    assert said == ["the clock was set back 60 min; Dagster: started again"]


def test_dagster_whose_code_was_never_loaded_is_left_alone(
    children: Children, healer: Healing, tmp_path: Path
) -> None:
    """Kept out: code that cannot be loaded is started again for ever; the UI shows why."""
    start(children, "exec sleep 600", tmp_path, CODE_SERVER)
    before = pid_of(children)
    for _ in range(5):
        healer.look()
    assert pid_of(children) == before


AWAY = "Dagster's storage cannot be reached (there). Waiting for it"
AGAIN = "Dagster's storage went away again. Waiting for it"
BACK = "Dagster's storage is back"


def test_dagster_that_ends_without_its_storage_is_started_again_once_it_is_back(
    children: Children, healer: Healing, said: list[str], storage: Storage, tmp_path: Path
) -> None:
    """Kept out: an `atx up` that ends because a server of somebody's own is started anew."""
    start(children, "echo no storage; exit 1", tmp_path, DAEMON)
    wait_until(lambda: gone(pid_of(children)))
    storage.away = True
    for _ in range(5):
        healer.look()
    assert not list(children)
    assert said == [AWAY]
    storage.away, storage.goes_again = False, True
    healer.look()
    assert not list(children)
    storage.goes_again = False
    healer.look()
    (dagster,) = children
    assert dagster.name == DAEMON
    started = "Dagster daemon ended with status 1: no storage: started again"
    assert said == [AWAY, BACK, AGAIN, BACK, started]


def test_dagster_that_lives_without_its_storage_is_left_alone_and_the_outage_told(
    children: Children, healer: Healing, said: list[str], storage: Storage, tmp_path: Path
) -> None:
    start(children, "exec sleep 600", tmp_path, DAEMON)
    before = pid_of(children)
    healer.look()
    assert said == []
    for storage.away in (True, True, True, False, False):
        healer.look()
    assert said == [AWAY, BACK]
    assert pid_of(children) == before


def test_a_storage_that_comes_and_goes_is_no_death_of_dagster_again_and_again(
    children: Children, healer: Healing, said: list[str], storage: Storage, tmp_path: Path
) -> None:
    start(children, "exit 1", tmp_path, DAEMON)
    for _ in range(5):
        wait_until(lambda: gone(pid_of(children)))
        for storage.away in (True, False):
            healer.look()
    assert len(said) == 15


def test_every_log_of_the_home_is_kept_small_while_its_writer_goes_on(
    healer: Healing, tmp_path: Path
) -> None:
    """PostgreSQL's too: `atx start` may have left it running for a year."""
    log = tmp_path / "logs" / "postgres.log"
    log.parent.mkdir()
    with log.open("ab") as writer:
        writer.write(b"x" * 5_000_001)
        writer.flush()
        healer.look()
        writer.write(b"more\n")
    assert log.read_bytes() == b"more\n"
    assert (log.parent / "postgres.log.1").stat().st_size == 5_000_001

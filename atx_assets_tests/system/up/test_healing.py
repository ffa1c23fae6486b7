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
from atx_assets.web.healing import DAGSTER, Healing
from atx_assets.web.processes import Children

#: Starts a child whose command is like that of Dagster's code server, and tells its number.
WITH_CODE_SERVER = "sh -c 'sleep 600; :' dagster api grpc & echo $!; wait; sleep 600"


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

    def reach(self, _: Settings) -> str:
        if self.away:
            raise DatabaseError("Dagster's storage cannot be reached (there)")
        return ""

    def ready_records(self, *_: object) -> None:
        if self.goes_again:
            raise DagsterPostgresException("too many retries for DB connection")


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
    start(children, WITH_CODE_SERVER, tmp_path, DAGSTER)
    code_server, before = number_in(tmp_path / "dagster.log"), pid_of(children)
    # Its number is printed before it is what its command line says.
    wait_until(lambda: healing._serves_code(before))
    for _ in range(5):
        healer.look()
    assert pid_of(children) == before
    psutil.Process(code_server).kill()
    wait_until(lambda: gone(code_server))
    healer.look()  # one that is loaded anew may be missing for a moment
    assert pid_of(children) == before
    healer.look()
    assert pid_of(children) != before
    assert said == ["Dagster's code server was gone: started again"]


def test_dagster_whose_code_server_was_never_found_is_left_alone(
    children: Children, healer: Healing, tmp_path: Path
) -> None:
    """Kept out: a version of Dagster that calls it otherwise is started again for ever."""
    start(children, "exec sleep 600", tmp_path, DAGSTER)
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
    start(children, "echo no storage; exit 1", tmp_path, DAGSTER)
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
    assert dagster.name == DAGSTER
    started = "Dagster ended with status 1: no storage: started again"
    assert said == [AWAY, BACK, AGAIN, BACK, started]


def test_dagster_that_lives_without_its_storage_is_left_alone_and_the_outage_told(
    children: Children, healer: Healing, said: list[str], storage: Storage, tmp_path: Path
) -> None:
    start(children, "exec sleep 600", tmp_path, DAGSTER)
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
    start(children, "exit 1", tmp_path, DAGSTER)
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

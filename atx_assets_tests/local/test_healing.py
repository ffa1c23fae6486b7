"""What `atx up` does when a child of it dies; with the real ones in `automation/test_living.py`."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from atx_assets.errors import AtxError
from atx_assets.local import healing
from atx_assets.local.healing import DAGSTER, Healing
from atx_assets.local.processes import Children
from atx_assets.settings import Settings, read_settings

pytestmark = pytest.mark.slow

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
def children(tmp_path: Path) -> Iterator[Children]:
    started = Children(tmp_path)
    yield started
    started.end()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def healer(settings: Settings, children: Children, said: list[str]) -> Healing:
    return Healing(settings, children, said.append)


@pytest.fixture
def without_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks Dagster's storage, or waits between two looks."""
    monkeypatch.setattr(healing, "reach_storage", lambda _: "")
    monkeypatch.setattr(healing, "ready_records", lambda *_: None)
    monkeypatch.setattr(healing, "_INTERVAL", 0.0)


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


@pytest.mark.usefixtures("without_storage")
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


@pytest.mark.usefixtures("without_storage")
def test_dagster_whose_code_server_was_never_found_is_left_alone(
    children: Children, healer: Healing, tmp_path: Path
) -> None:
    """Kept out: a version of Dagster that calls it otherwise is started again for ever."""
    start(children, "exec sleep 600", tmp_path, DAGSTER)
    before = pid_of(children)
    for _ in range(5):
        healer.look()
    assert pid_of(children) == before


def test_dagster_is_not_started_again_without_its_storage(
    children: Children, healer: Healing, tmp_path: Path
) -> None:
    start(children, "exit 0", tmp_path, DAGSTER)
    wait_until(lambda: gone(pid_of(children)))
    with pytest.raises(AtxError, match="Dagster's storage cannot be reached"):
        healer.look()


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

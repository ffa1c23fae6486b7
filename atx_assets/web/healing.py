"""What `atx up` does while all runs: what was killed is started again, what is lost is told of.

A storage of Dagster's on somebody's own server is waited for: nobody but its owner can start it.

Not here: starting and ending it all (`up.py`), which processes Dagster consists of
(`dagster_processes.py`), how a process or the server is started (`processes.py`,
`home/postgres/server.py`).
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from atx_assets.errors import AtxError, DatabaseError
from atx_assets.home.dagster_storage import is_storage_failure, open_instance, reach_storage
from atx_assets.home.home import own_databases, revive_server
from atx_assets.home.logs import trim
from atx_assets.settings import Settings
from atx_assets.web.dagster_processes import CODE_SERVER, DAEMON, WEBSERVER, serves_code
from atx_assets.web.processes import Child, Children

_DAGSTER = (CODE_SERVER, DAEMON, WEBSERVER)

#: One that dies so often in so many seconds would die for ever.
_DEATHS, _WITHIN = 4, 600.0

#: Seconds by which the clock has to be set back for Dagster's daemon to be started again. It and
#: its sensors wait by the clock: set back an hour, they would do nothing for an hour.
_SET_BACK = 60.0

#: Seconds between two looks for the code server, or for a storage that is somebody's own; and looks
#: in vain after which the code server is gone. One that is loaded anew is there before the old one
#: ends.
_INTERVAL, _IN_VAIN = 5.0, 2


class Healing:
    """Looks after the children of `atx up` and the embedded server.

    Dagster's code server does not see the death of the process that has loaded our code: then no
    sensor ticks any more, and nothing else shows.
    """

    def __init__(self, settings: Settings, children: Children, say: Callable[[str], None]) -> None:
        """Begin with everything running; `settings` are those of the open home."""
        self._settings, self._children, self._say = settings, children, say
        self._deaths: defaultdict[str, list[float]] = defaultdict(list)
        self._looked, self._in_vain, self._code_server_seen = 0.0, 0, False
        self._clock = _clock()
        self._storage_is_theirs = not own_databases(settings)[1]
        self._storage_asked, self._storage_away = 0.0, False
        #: Processes of Dagster that have ended, and why each is to be started again.
        self._ended: list[tuple[Child, str]] = []

    def look(self) -> None:
        """Start again what is not there.

        Raises:
            AtxError: it cannot be started, or dies again and again.
        """
        if revive_server(self._settings):
            self._died("PostgreSQL", "PostgreSQL was gone")
        for log in (self._settings.home / "logs").glob("*.log"):
            trim(log)
        set_back, self._clock = self._clock - _clock(), _clock()
        for child in self._children:
            if fate := child.fate():
                self._start_again(child, fate)
            elif child.name == CODE_SERVER and self._code_server_is_gone(child):
                self._start_again(child, "Dagster's code server was gone")
            elif child.name == DAEMON and set_back > _SET_BACK:
                self._start_again(child, f"the clock was set back {set_back / 60:.0f} min; Dagster")
        if self._storage_is_due() and self._storage_is_there():
            self._start_dagster()

    def _start_again(self, child: Child, fate: str) -> None:
        self._children.end_one(child)
        if child.name == CODE_SERVER:
            self._in_vain, self._code_server_seen = 0, False
        if child.name in _DAGSTER:
            self._ended.append((child, fate))  # without its storage it would only die again
        else:
            self._died(child.name, fate)
            self._start(child)

    def _start_dagster(self) -> None:
        """Start again the processes of Dagster that have ended."""
        if not self._ended:
            return
        # Runs are processes of the code server: one that just begins has ended with it, and only
        # with it.
        runs_ended = any(child.name == CODE_SERVER for child, _ in self._ended)
        try:
            ready_records(self._settings, self._say, starting_too=runs_ended)
        except Exception as error:
            if not is_storage_failure(error):
                raise
            self._lack_storage("Dagster's storage went away again")
            return
        ended, self._ended = self._ended, []
        for child, fate in ended:
            self._died(child.name, fate)
            self._start(child)

    def _start(self, child: Child) -> None:
        self._children.start(
            child.name, child.command, environment=child.environment, folder=child.folder
        )

    def _storage_is_due(self) -> bool:
        """Whether it is time to ask for Dagster's storage: at once if Dagster has just ended."""
        if self._ended and not self._storage_away:
            return True
        # Dagster lives through an outage, and says so in its log alone.
        asks = self._storage_is_theirs or self._storage_away
        return asks and time.monotonic() - self._storage_asked >= _INTERVAL

    def _storage_is_there(self) -> bool:
        try:
            reach_storage(self._settings)
        except DatabaseError as error:
            self._lack_storage(str(error))
            return False
        self._storage_asked = time.monotonic()
        if self._storage_away:
            self._storage_away = False
            for name in _DAGSTER:  # a storage that comes and goes is no fault of Dagster
                self._deaths.pop(name, None)
            self._say("Dagster's storage is back")
        return True

    def _lack_storage(self, why: str) -> None:
        self._storage_asked = time.monotonic()
        if not self._storage_away:
            self._say(f"{why}. Waiting for it")
        self._storage_away = True

    def _died(self, name: str, fate: str) -> None:
        now = time.monotonic()
        self._deaths[name] = [at for at in self._deaths[name] if now - at < _WITHIN] + [now]
        if len(self._deaths[name]) >= _DEATHS:
            raise AtxError(f"{fate}, for the {_DEATHS}th time in {_WITHIN / 60:.0f} minutes")
        self._say(f"{fate}: started again")

    def _code_server_is_gone(self, code_server: Child) -> bool:
        """Whether no process serves our code any more, though one did."""
        now = time.monotonic()
        if now - self._looked < _INTERVAL:
            return False
        self._looked = now
        there = serves_code(code_server)
        # Code that cannot be loaded has no process; the UI shows why.
        self._code_server_seen = self._code_server_seen or there
        self._in_vain = 0 if there or not self._code_server_seen else self._in_vain + 1
        return self._in_vain >= _IN_VAIN


def ready_records(
    settings: Settings, say: Callable[[str], None], *, starting_too: bool = True
) -> None:
    """Put right in Dagster's records what has gone wrong while a process of it did not run, as now.

    Runs whose process is gone are marked as failed, and named. Ticks of a time that is still to
    come, as the clock was set back since, would keep the sensors waiting for it.

    Args:
        settings: of the open home.
        say: takes the line about each run.
        starting_too: no code server runs, so that a run that has not begun yet is dead, too.
    """
    from atx_assets.automation.dead_runs import fail_dead_runs, in_words
    from atx_assets.automation.later_ticks import forget_later_ticks

    with open_instance(settings) as instance:
        for run in fail_dead_runs(instance, starting_too=starting_too):
            say(in_words(run))
        forget_later_ticks(instance, time.time())


def _clock() -> float:
    """Return how much the clock is ahead of the time that has passed: it changes when it is set."""
    return time.time() - time.monotonic()

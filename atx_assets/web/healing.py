"""Keeps `atx up` running: restarts what was killed, and reports what is lost.

If Dagster's storage is on the owner's server, it waits for it: only the owner can start that.

Not here: starting and ending everything (`up.py`), which processes Dagster consists of
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

#: A process that dies this often within this many seconds would go on dying.
_DEATHS, _WITHIN = 4, 600.0

#: If the clock was set back by more than this many seconds, Dagster's daemon is restarted. The
#: daemon and its sensors wait by the clock: set back an hour, they would do nothing for an hour.
_SET_BACK = 60.0

#: Seconds between two looks for the code server, or for a storage on the owner's server; and the
#: number of failed looks after which the code server is gone. A reloaded one starts before the old
#: one ends.
_INTERVAL, _IN_VAIN = 5.0, 2


class Healing:
    """Looks after the children of `atx up` and the embedded server.

    Dagster's code server does not notice the death of the process that has loaded our code: sensors
    would stop ticking, without any other sign.
    """

    def __init__(self, settings: Settings, children: Children, say: Callable[[str], None]) -> None:
        """Assume that everything is running; `settings` are those of the open home."""
        self._settings, self._children, self._say = settings, children, say
        self._deaths: defaultdict[str, list[float]] = defaultdict(list)
        self._looked, self._in_vain, self._code_server_seen = 0.0, 0, False
        self._clock = _clock()
        self._storage_is_theirs = not own_databases(settings)[1]
        self._storage_asked, self._storage_away = 0.0, False
        #: Processes of Dagster that have ended, each with the reason to restart it.
        self._ended: list[tuple[Child, str]] = []

    def look(self) -> None:
        """Restart what is gone.

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
            self._ended.append((child, fate))  # restarted once its storage answers: see `look`
        else:
            self._died(child.name, fate)
            self._start(child)

    def _start_dagster(self) -> None:
        """Restart the processes of Dagster that have ended."""
        if not self._ended:
            return
        # Runs are processes of the code server: a run that was just starting has ended only if the
        # code server has.
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
        """Return whether to check Dagster's storage now: immediately if Dagster has just ended."""
        if self._ended and not self._storage_away:
            return True
        # Dagster survives an outage, and reports it only in its log.
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
            for name in _DAGSTER:  # deaths caused by the storage do not count against Dagster
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
        """Return whether no process serves our code any more, although one did."""
        now = time.monotonic()
        if now - self._looked < _INTERVAL:
            return False
        self._looked = now
        running = serves_code(code_server)
        # Code that cannot be loaded has no process; the UI shows why.
        self._code_server_seen = self._code_server_seen or running
        self._in_vain = 0 if running or not self._code_server_seen else self._in_vain + 1
        return self._in_vain >= _IN_VAIN


def ready_records(
    settings: Settings, say: Callable[[str], None], *, starting_too: bool = True
) -> None:
    """Correct Dagster's records for the time in which a process of Dagster was not running.

    Runs whose process is gone are marked as failed, and reported. Ticks in the future, left by a
    clock that was set back since, are removed: the sensors would wait for that time.

    Args:
        settings: of the open home.
        say: takes the line about each run.
        starting_too: no code server is running, so a run that has not started is dead, too.
    """
    from atx_assets.automation.dead_runs import fail_dead_runs, in_words
    from atx_assets.automation.later_ticks import forget_later_ticks

    with open_instance(settings) as instance:
        for run in fail_dead_runs(instance, starting_too=starting_too):
            say(in_words(run))
        forget_later_ticks(instance, time.time())


def _clock() -> float:
    """Return the clock minus the time that has passed: it changes only if the clock is set."""
    return time.time() - time.monotonic()

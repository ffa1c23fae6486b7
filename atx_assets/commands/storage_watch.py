"""Restarts the embedded PostgreSQL if it dies during `atx run`, and says so.

At each event Dagster retries its storage for some seconds. That is enough to restart the embedded
server, and the run goes on. Prevented: a run that fails because the embedded server was killed, and
a paragraph of log for each of dozens of retries. Not here: the same for `atx up`
(`web/healing.py`), how the server is started (`home/postgres/server.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from atx_assets.errors import AtxError
from atx_assets.home.home import revive_server
from atx_assets.settings import Settings

#: Seconds between two looks, and how often one run restarts the embedded server.
_INTERVAL, _TIMES = 0.3, 4


@contextmanager
def storage_watched(settings: Settings, say: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, restart the embedded server if it dies, and report it in one line.

    Args:
        settings: of an open home.
        say: takes each line, from any thread.
    """
    retries, over = _FirstRetry(say), threading.Event()
    watch = threading.Thread(
        target=_watch, args=(settings, say, over), name="atx-storage", daemon=True
    )
    logging.getLogger().addFilter(retries)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        logging.getLogger().removeFilter(retries)


def _watch(settings: Settings, say: Callable[[str], None], over: threading.Event) -> None:
    started = 0
    while started < _TIMES and not over.wait(_INTERVAL):
        try:
            if revive_server(settings):
                started += 1
                say("PostgreSQL was gone: started again")
        except (AtxError, OSError) as error:  # OSError: the disk is full
            say(str(error))
            return  # the run fails when Dagster gives up
    if started == _TIMES:
        say(f"PostgreSQL died {_TIMES} times and will not be restarted: see the home's logs")


class _FirstRetry(logging.Filter):
    """Replaces what dagster-postgres logs at each of dozens of retries with one line."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say, self._said = say, False

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Retrying failed database connection"):
            return True
        if not self._said:
            self._said = True
            self._say("Dagster's storage does not answer: trying again for a minute")
        return False

"""What `atx run` does when PostgreSQL goes away under it: starts its own again, and says so.

Dagster tries its storage again for seconds at each event, which is enough for a server of ours
to be back: then the run goes on as if nothing had been. Prevented: a run that ends as the embedded
server was killed, and a paragraph at each of dozens of attempts. Not here: the same for `atx up`
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

#: Seconds between two looks, and how often a server of ours is started again in one run.
_INTERVAL, _TIMES = 0.3, 4


@contextmanager
def storage_watched(settings: Settings, say: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, start the embedded server again if it dies, and tell of it in a line.

    Args:
        settings: of an open home.
        say: takes each line, from any thread.
    """
    told, over = _ToldOnce(say), threading.Event()
    watch = threading.Thread(
        target=_watch, args=(settings, say, over), name="atx-storage", daemon=True
    )
    logging.getLogger().addFilter(told)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        logging.getLogger().removeFilter(told)


def _watch(settings: Settings, say: Callable[[str], None], over: threading.Event) -> None:
    started = 0
    while started < _TIMES and not over.wait(_INTERVAL):
        try:
            if revive_server(settings):
                started += 1
                say("PostgreSQL was gone: started again")
        except (AtxError, OSError) as error:  # OSError: the disk is full
            say(str(error))
            return  # the run ends by itself, once Dagster has tried long enough
    if started == _TIMES:
        say(f"PostgreSQL died {_TIMES} times: it is not started again; see the home's logs")


class _ToldOnce(logging.Filter):
    """Makes one line of what dagster-postgres says at each of dozens of attempts."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say, self._told = say, False

    def filter(self, record: logging.LogRecord) -> bool:
        if not str(record.msg).startswith("Retrying failed database connection"):
            return True
        if not self._told:
            self._told = True
            self._say("Dagster's storage does not answer: trying again for a minute")
        return False

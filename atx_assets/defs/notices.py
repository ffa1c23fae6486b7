"""libpq's warnings at each connection of Dagster's, held down to one line for each process.

A database whose collation the operating system has changed warns at every connection, in three
lines, and Dagster opens hundreds in a run. psycopg2 lets libpq print what comes before it has the
connection. Not here: what to do about it (`commands/doctor/collations.py`).
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_logger = logging.getLogger(__name__)

#: With its lines DETAIL and HINT.
_WARNING = re.compile(
    r'^WARNING:  database "(.*)" has .*collation version.*\n(?:(?:DETAIL|HINT):  .*\n)*',
    re.MULTILINE,
)


class _Connections:
    """The connections of this process, of which the first says whether there is a warning."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_first, self._warns = True, False

    def open(self, dialect: Any, _record: Any, words: Any, options: Any) -> Any:
        """Connect for SQLAlchemy (its event `do_connect`)."""
        if dialect.name != "postgresql" or not (self._is_first or self._warns):
            return None  # as ever
        with self._lock, self._without_warning():
            made = dialect.connect(*words, **options)
            self._is_first = False  # one that failed may have said nothing yet
            return made

    @contextmanager
    def _without_warning(self) -> Iterator[None]:
        """Hold back what the block writes to standard error, and pass on all but the warning.

        Into a file, not a pipe: a process that is started meanwhile would wait for who reads it.
        """
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
        except OSError:  # no folder for it: better the warning than no connection
            yield
            return
        with file as held:
            before = os.dup(2)
            os.dup2(held.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(before, 2)
                os.close(before)
                held.seek(0)
                self._pass_on(held.read().decode(errors="replace"))

    def _pass_on(self, written: str) -> None:
        rest, count = _WARNING.subn("", written)
        if rest:
            os.write(2, rest.encode())
        if count and not self._warns:
            found = _WARNING.search(written)
            _logger.warning(
                "database %s was made with another collation version than the system has now: "
                "`atx doctor` says what to do",
                found[1] if found else "",
            )
        self._warns = self._warns or bool(count)


@cache
def hold_warnings_down() -> None:
    """From now on this process says such a warning once."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "do_connect", _Connections().open)

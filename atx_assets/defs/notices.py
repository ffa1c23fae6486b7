"""Reduces libpq's warnings at each of Dagster's connections to one line per process.

If the operating system has changed a database's collation, the server warns at every connection, in
three lines, and Dagster opens hundreds in a run. psycopg2 lets libpq print what arrives before the
connection is complete. Not here: how to fix it (`commands/doctor/collations.py`).
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

#: The warning, with its lines DETAIL and HINT.
_WARNING = re.compile(
    r'^WARNING:  database "(.*)" has .*collation version.*\n(?:(?:DETAIL|HINT):  .*\n)*',
    re.MULTILINE,
)


class _Connections:
    """The connections of this process; the first one shows whether there is a warning."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_first, self._warns = True, False

    def open(self, dialect: Any, _record: Any, words: Any, options: Any) -> Any:
        """Connect for SQLAlchemy (its event `do_connect`)."""
        if dialect.name != "postgresql" or not (self._is_first or self._warns):
            return None  # SQLAlchemy connects as usual
        with self._lock, self._without_warning():
            connection = dialect.connect(*words, **options)
            self._is_first = False  # not after a failure: it may have failed before the warning
            return connection

    @contextmanager
    def _without_warning(self) -> Iterator[None]:
        """Hold back what the block writes to standard error, and pass on all but the warning.

        Uses a file, not a pipe: a process started meanwhile would block when nobody reads the pipe.
        """
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
        except OSError:  # no folder for it: the warning is better than no connection
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
            warning = _WARNING.search(written)
            _logger.warning(
                "database %s was created with another collation version than the system has now: "
                "`atx doctor` says what to do",
                warning[1] if warning else "",
            )
        self._warns = self._warns or bool(count)


@cache
def hold_warnings_down() -> None:
    """Make this process log such a warning only once from now on."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "do_connect", _Connections().open)

"""A connection that sets up each of its transactions, and leaves nothing in its session.

Behind a transaction pooler, clients share sessions: what a `SET` or a prepared statement leaves
there reaches the next client. Not here: where the connection goes (`database.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

#: What a database or a user may preset for every session, and what would change how values are
#: read or written: `ALTER DATABASE … SET` and `ALTER ROLE … SET` apply to every connection.
_READ_AS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "transform_null_equals": "off",
    "array_nulls": "on",
}
#: The second limits how long a suspended machine keeps the server from cleaning up.
_LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout")
_SET_UP = "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) s(name, value)"


class TransactionBound(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose transactions read the same everywhere, and take only so long.

    Attributes:
        statement_timeout: seconds that a statement may take, and that a transaction may be idle;
            statements outside of a transaction (autocommit) have no limit.
    """

    statement_timeout: int

    def cursor(self, *args: Any, **named: Any) -> Any:
        """Return a cursor; a statement that begins a transaction gets one that is set up."""
        if self._is_idle and not self.autocommit:
            self._set_up()
        return super().cursor(*args, **named)

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """Open a transaction that is set up, or a savepoint inside one."""
        begins = self._is_idle
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if begins:
                self._set_up()
            yield transaction

    @property
    def _is_idle(self) -> bool:
        return self.info.transaction_status is TransactionStatus.IDLE

    def _set_up(self) -> None:
        values = _READ_AS | dict.fromkeys(_LIMITS, str(self.statement_timeout * 1000))
        super().cursor().execute(_SET_UP, ([*values], [*values.values()]))

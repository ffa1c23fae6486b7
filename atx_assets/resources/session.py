"""A connection that sets up each of its transactions, and leaves nothing in its session.

Behind a transaction pooler a session is everybody's: what a `SET` or a prepared statement leaves
there lands on the next client. Not here: where the connection goes (`database.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

_SET_UP = "SELECT set_config('TimeZone', 'UTC', true), set_config('statement_timeout', %s, true)"


class TransactionBound(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose transactions are in UTC, and whose statements take only so long.

    Attributes:
        statement_timeout: seconds; statements outside of a transaction (autocommit) have none.
    """

    statement_timeout: int

    def cursor(self, *args: Any, **named: Any) -> Any:
        """Return a cursor; a statement that would begin a transaction finds one set up."""
        if self._is_idle and not self.autocommit:
            self._set_up()
        return super().cursor(*args, **named)

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        """Open a transaction that is set up, or a savepoint in one."""
        begins = self._is_idle
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if begins:
                self._set_up()
            yield transaction

    @property
    def _is_idle(self) -> bool:
        return self.info.transaction_status is TransactionStatus.IDLE

    def _set_up(self) -> None:
        super().cursor().execute(_SET_UP, (str(self.statement_timeout * 1000),))

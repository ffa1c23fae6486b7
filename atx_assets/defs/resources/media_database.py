"""The media database as a Dagster resource: one read-only snapshot of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from atx_assets.settings import Settings

if TYPE_CHECKING:
    import psycopg

    from atx_assets.sources.layouts import SourceTable


class MediaDatabase(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The database that the settings `PG_*` name."""

    @contextmanager
    def reading(self, settings: Settings) -> Iterator[tuple[psycopg.Connection, SourceTable]]:
        """Open one read-only, repeatable-read transaction, and find the layout in it.

        Raises:
            AtxError: it cannot be reached or read, or has neither layout.
        """
        from atx_assets.sources.read.database import connect, explained
        from atx_assets.sources.read.rights import find_visible_source

        connection = connect(
            settings.database, statement_timeout=settings.statement_timeout, read_only=True
        )
        with explained(settings.database), connection:
            yield connection, find_visible_source(connection, settings.source)

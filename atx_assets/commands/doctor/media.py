"""`atx doctor` on the media database: what a run would read, and whether the champion fits it.

Not here: whether labels have disappeared since the results were made (`records.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atx_assets.errors import AtxError, FileError, Note
from atx_assets.home.home import own_databases
from atx_assets.models.bundles import Bundles
from atx_assets.settings import Settings
from atx_assets.storage.data_folder import DataFolder

if TYPE_CHECKING:
    from atx_assets.sources.observed_labels import States
    from atx_assets.sources.read.fingerprints import Fingerprints


#: Labels that a line names at most.
_NAMED = 5


class MediaDatabase:
    """The media database as a run would read it.

    Attributes:
        layout: the layout that `check` found; empty before.
        prints: the fingerprints of labels and films that `check` read; None before.
        states: what is known of the labels of reviewed rows; empty if the table has none.
    """

    def __init__(self, settings: Settings) -> None:
        """Keep the settings that say where the database is. Nothing is read yet."""
        self._settings = settings
        self.layout = ""
        self.prints: Fingerprints | None = None
        self.states: States = {}

    def check(self) -> str:
        """Find the layout, and count films and labels as a run would, without reading more.

        Raises:
            AtxError: the database cannot be read, or holds too few labels to learn from.
        """
        from atx_assets.learning.folds import LEAST_LABELS
        from atx_assets.sources.observed_record import observed
        from atx_assets.sources.read.database import connect, explained
        from atx_assets.sources.read.fingerprints import read_fingerprints
        from atx_assets.sources.read.rights import (
            filters_rows,
            find_visible_source,
            more_than_needed,
            policy,
        )

        settings = self._settings
        own = own_databases(settings)[0]
        remote = settings.pg_host and "/" not in settings.pg_host
        where = f"{settings.database} ({'your server' if remote else 'a local socket'}); "
        connection = connect(
            settings.database, statement_timeout=settings.statement_timeout, read_only=True
        )
        with explained(settings.database), connection:
            empty = "SELECT coalesce(to_regclass('atp.media'), to_regclass('atp.training')) IS NULL"
            if own and connection.execute(empty).fetchone() == (True,):
                return Note(f"{where}empty: `atx load FILE` fills it, or `atx demo` with a sample")
            visible_source = find_visible_source(connection, settings.source)
            source, self.states = observed(
                connection, visible_source, settings.home, settings.data_dir
            )
            filtered = filters_rows(connection, source)
            visible = policy(connection, source)
            prints = read_fingerprints(connection, source)
            more = "" if own else more_than_needed(connection)
        self.layout, self.prints = source.layout.name, prints
        labels, films = (int(p.split("-")[0]) for p in (prints.labels, prints.media))
        if labels < 2 * LEAST_LABELS:
            raise AtxError(
                f"atp.{source.layout.table} has {labels} labelled rows; at least {LEAST_LABELS} "
                f"keeps and {LEAST_LABELS} skips are needed: "
                + (f"row-level security hides some; {visible}" if filtered else "label more films")
            )
        counted = f"{where}atp.{source.layout.table}, {films} rows of films, {labels} with a label"
        if filtered:
            return Note(f"{counted} that row-level security shows this user; for all, {visible}")
        if more:
            return Note(
                f"{counted}; a run needs only SELECT, and this user may {more} as well: "
                "sql/atx_reader.sql makes a user who may not"
            )
        return counted

    def check_labels(self) -> str:
        """Name the labels that the downloader gave to reviewed rows: nothing learns from them."""
        from atx_assets.sources.observed_labels import of_models
        from atx_assets.sources.observed_record import ObservedRecord

        labels = of_models(self.states, ObservedRecord(self._settings.home).names())
        if not labels:
            return "the downloader has given none to a reviewed row"
        groups = []
        for why in dict.fromkeys(label["why"] for label in labels):
            names = [
                f"{label['title']} ({label['imdb_id']}, {label['is']})"
                for label in labels
                if label["why"] == why
            ]
            more = f"; and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            groups.append(f"{len(names):,} {why} ({'; '.join(names[:_NAMED])}{more})")
        return Note(
            f"{', '.join(groups)}: nothing learns from these; `atx correct keep` or `skip` makes "
            "one a person's"
        )

    def check_layout(self) -> str:
        """Check that the champion learned from the layout that was found.

        Raises:
            AtxError: it learned from the other one; the line is the one with which scoring fails.
        """
        bundles = Bundles(DataFolder(self._settings.data_dir))
        try:
            _ = bundles.champion().encoding
        except (FileError, OSError, ValueError):  # none yet, or damaged: the models' line says it
            return f"{self.layout}; for the champion, see the models above"
        bundles.champion_of(self.layout)
        return f"{self.layout}, and the champion has learned from it"

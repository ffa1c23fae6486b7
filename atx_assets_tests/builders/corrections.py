"""A library of few rows, in which labels are corrected; and what a test asks of it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from atx_assets.errors import AtxError
from atx_assets.settings import Settings, read_settings
from atx_assets.sources.correct import correction as corrections
from atx_assets.sources.correct.correction import Corrected
from atx_assets.sources.correct.record import CorrectionRecord
from atx_assets.sources.layouts import LAYOUTS
from atx_assets.sources.titles import titles

KEPT = {
    "rejection_status": "override",
    "rejection_reason": None,
    "error_status": False,
    "error_condition": None,
    "pipeline_status": "ingested",
}
RULED_OUT = {
    "rejection_status": "rejected",
    "rejection_reason": "resolution 720p is not allowed",
    "pipeline_status": "rejected",
    "error_status": True,
    "error_condition": "no seeds",
}


class Place:
    """A library, the home that records its corrections, and what a test asks of them."""

    def __init__(self, library: Any, home: Path) -> None:
        self.library, self.home = library, home
        self.record = CorrectionRecord(home)

    def environment(self) -> dict[str, str]:
        database = self.library.as_reader(self.library.database)
        return {
            "PG_HOST": database.host,
            "PG_PORT": str(database.port),
            "PG_DB": database.name,
            "PG_USER": database.user,
            "ATX_CORRECTION_PG_USER": "atx_corrector",
            "ATX_HOME": str(self.home),
            "ATX_STATEMENT_TIMEOUT": "60",
        }

    def settings(self, **more: str) -> Settings:
        return read_settings(self.environment() | more)

    def correct(self, verdict: Any, *ids: str, write: bool = True, **more: str) -> Corrected:
        return corrections.correct(self.settings(**more), ids, verdict, write=write, via="a test")

    def undo(self, number: int, *, write: bool = True, **more: str) -> Corrected:
        return corrections.undo(self.settings(**more), number, write=write, via="a test")

    def refused(self, verdict: Any, *ids: str, write: bool = True, **more: str) -> str:
        return told_by(lambda: self.correct(verdict, *ids, write=write, **more))

    def rows(self, table: str = "media") -> dict[str, dict[str, Any]]:
        key = LAYOUTS[table].key
        found = self.library.connection.execute(
            sql.SQL("SELECT to_jsonb(t) FROM {} t ORDER BY {}").format(
                sql.Identifier("atp", table), sql.Identifier(key)
            )
        )
        return {row[key]: row for (row,) in found}

    def labels(self, table: str = "media") -> dict[str, tuple[bool | None, str | None]]:
        made = titles(self.library.extract(self.home.parent / "t.parquet"), LAYOUTS[table])
        return {
            key: (label, source)
            for key, label, source in zip(
                *(made[c].to_pylist() for c in ("key", "label", "label_source")), strict=True
            )
        }

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.record.path.read_text().splitlines()]

    def touch_on_update(self, table: str = "media") -> None:
        """As in the owner's database, where any update moves `updated_at`."""
        self.touch_at("clock_timestamp()")
        self.library.execute(
            f"CREATE TRIGGER touch BEFORE UPDATE ON atp.{table}"
            " FOR EACH ROW EXECUTE FUNCTION atp.touch()"
        )

    def touch_at(self, time: str) -> None:
        """Which time the trigger gives: `now()` is one time for all rows of a transaction."""
        self.library.execute(
            "CREATE OR REPLACE FUNCTION atp.touch() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN NEW.updated_at := {time}; RETURN NEW; END $$"
        )

    @contextmanager
    def role(self, *grants: str) -> Iterator[str]:
        """A user with nothing but these grants; `{}` in one stands for its name."""
        name = f"corrector {time.time_ns()}"
        quoted = sql.Identifier(name).as_string(None)
        self.library.execute(f"CREATE ROLE {quoted} LOGIN")
        try:
            self.library.execute(f"GRANT USAGE ON SCHEMA atp TO {quoted}")
            for grant in grants:
                self.library.execute(grant.replace("{}", quoted))
            yield name
        finally:
            self.library.execute(f"DROP OWNED BY {quoted}")
            self.library.execute(f"DROP ROLE {quoted}")

    def another(self) -> psycopg.Connection:
        """A connection of another program, in a transaction of its own."""
        database = self.library.database
        return psycopg.connect(
            host=database.host, port=database.port, user=database.user, dbname=database.name
        )


def told_by(action: Callable[[], Any]) -> str:
    """The one line of a refusal."""
    with pytest.raises(AtxError) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.fixture
def place(library: Any, tmp_path: Path) -> Place:
    return Place(library, tmp_path / "home")


@pytest.fixture
def media(place: Place, release: Callable[..., Any]) -> Place:
    """Films 1 to 5, of which the first has three releases, one of them nameless; and a series."""
    one = {"media_title": "One", "imdb_id": "tt0000001"}
    place.library.create(
        "media",
        [
            release(0xA1, **one, **RULED_OUT),
            release(0xA2, **one, pipeline_status="complete", rejection_status="accepted"),
            release(0xA3, media_title="ONE", imdb_id=None, pipeline_status="parsed"),
            release(2, rejection_status="override", pipeline_status="complete"),
            release(3, rejection_status="rejected"),
            release(4, imdb_id=None, media_title="Nobody's", release_year=1990),
            release(5),
            release(9, media_type="tv_show"),
        ],
    )
    place.touch_on_update()
    return place


@pytest.fixture
def training(place: Place, entry: Callable[..., Any]) -> Place:
    place.library.create(
        "training",
        [
            entry(1, label="would_not_watch", reviewed=True),
            entry(2, label="would_watch", human_labeled=True),
            entry(3),
            entry(4, label="would_watch"),
            entry(9, media_type="tv_season"),
        ],
    )
    place.touch_on_update("training")
    return place


def hash_of(number: int) -> str:
    return f"{number:040x}"


def parts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in KEPT}


# What is written

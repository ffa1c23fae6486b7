"""What a load does to the verdicts of people that the table holds already."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atx_assets import schemas
from atx_assets.sources.layouts import LAYOUTS
from atx_assets.sources.load.load import LoadReport, load_file
from atx_assets.sources.read.database import connect
from atx_assets_tests.builders.corrections import Place, hash_of

DAY = datetime(2025, 4, 1, tzinfo=UTC)
LATER = datetime.now(UTC) + timedelta(days=1)


class Loading:
    """A table that was filled from an export, and in which a person has corrected labels since."""

    def __init__(self, place: Place, layout: str, folder: Path) -> None:
        self.place, self.layout, self.path = place, layout, folder / "export.parquet"

    def load(
        self, rows: Sequence[dict[str, Any]], without: Sequence[str] = (), **options: bool
    ) -> LoadReport:
        table = pa.Table.from_pylist(list(rows), schemas.arrow_schema(LAYOUTS[self.layout].columns))
        pq.write_table(table.drop_columns(list(without)), self.path)
        with connect(self.place.library.database, statement_timeout=60) as connection:
            return load_file(connection, self.path, **options)

    def labels(self) -> dict[str, tuple[bool | None, str | None]]:
        return self.place.labels(self.layout)

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.place.rows(self.layout).values()]


@pytest.fixture
def releases(place: Place, release: Callable[..., Any], tmp_path: Path) -> Loading:
    loading = Loading(place, "media", tmp_path)
    loading.load([release(1), release(2, rejection_status="accepted"), release(3)])
    place.correct("keep", "tt0000001")
    place.correct("skip", "tt0000002")
    return loading


@pytest.fixture
def entries(place: Place, entry: Callable[..., Any], tmp_path: Path) -> Loading:
    loading = Loading(place, "training", tmp_path)
    loading.load([entry(1), entry(2, label="would_watch", reviewed=True), entry(3)])
    place.correct("keep", "tt0000001")
    place.correct("skip", "tt0000002")
    return loading


CORRECTED = {"tt0000001": (True, "human"), "tt0000002": (False, "human")}


def test_an_old_export_takes_no_newer_verdict_back(
    releases: Loading, release: Callable[..., Any]
) -> None:
    """Kept out: corrections reverted by last month's export, with '2 changed' all that was said."""
    statuses = releases.column("pipeline_status")
    old = [
        release(1, imdb_votes=7),
        release(2, rejection_status="accepted"),
        release(3, rejection_status="accepted"),
        release(4, rejection_status="override"),
    ]
    report = releases.load(old)
    assert (report.added, report.changed, report.unchanged) == (1, 2, 1)
    assert releases.labels() == CORRECTED | {
        "tt0000003": (True, "rule"),
        "tt0000004": (True, "human"),
    }
    assert releases.column("imdb_votes") == [7, None, None, None]
    # The downloader is about to fetch what was kept.
    assert releases.column("pipeline_status")[:2] == statuses[:2]
    assert report.verdict_lines() == [
        "kept 2 verdicts of people, newer than the file's "
        f"(Film 1 ({hash_of(1)}): keep; Film 2 ({hash_of(2)}): skip); "
        "--overwrite-verdicts takes the file's"
    ]
    assert report.verdict_lines()[0] in str(report)
    again = releases.load(old)
    assert (again.changed, again.unchanged) == (0, 4)


def test_an_old_export_of_the_later_layout_takes_no_newer_verdict_back(
    entries: Loading, entry: Callable[..., Any]
) -> None:
    entries.place.library.execute(
        "UPDATE atp.training SET anomalous = true WHERE imdb_id = 'tt0000002'"
    )
    report = entries.load(
        [
            entry(1, label="would_not_watch", imdb_votes=7),
            entry(2, label="would_not_watch", human_labeled=True),
            entry(3, label="would_watch", reviewed=True),
        ]
    )
    assert (report.changed, report.unchanged, report.kept.count) == (2, 1, 2)
    assert report.kept.names == (
        "Film 1 (tt0000001): keep",
        "Film 2 (tt0000002): skip, anomalous",
    )
    assert entries.labels() == CORRECTED | {"tt0000003": (True, "rule")}
    assert entries.column("anomalous") == [False, True, False]
    assert entries.column("reviewed") == [True, True, True]


def test_an_export_that_knows_no_people_gives_nobody_a_verdict(
    entries: Loading, entry: Callable[..., Any]
) -> None:
    """Kept out: the file's label in a row that the table still calls a person's."""
    report = entries.load(
        [entry(1, label="would_not_watch"), entry(2, label="would_watch")],
        without=["human_labeled", "anomalous", "reviewed", "updated_at"],
    )
    assert report.kept.count == 2
    labels = entries.labels()
    assert labels.items() >= CORRECTED.items()


def test_the_files_verdicts_are_taken_where_they_are_newer_or_told_to_be(
    releases: Loading, release: Callable[..., Any]
) -> None:
    # A later time alone is no newer word: any update moves it.
    report = releases.load([release(1, rejection_status="accepted", updated_at=LATER)])
    assert (report.kept.count, report.replaced.count) == (1, 0)
    newer = release(1, rejection_status="rejected", rejection_reason=None, updated_at=LATER)
    older = release(2, rejection_status="accepted")
    report = releases.load([newer, older])
    assert (report.kept.count, report.replaced.count) == (1, 1)
    assert report.verdict_lines()[1] == (
        f"replaced 1 verdict of a person by the file's (Film 1 ({hash_of(1)}): keep)"
    )
    report = releases.load([older], overwrite_verdicts=True)
    assert (report.kept.count, report.replaced.count, report.changed) == (0, 1, 1)
    assert report.verdict_lines() == [
        f"replaced 1 verdict of a person by the file's (Film 2 ({hash_of(2)}): skip)"
    ]
    assert releases.labels() == {
        "tt0000001": (False, "human"),
        "tt0000002": (True, "rule"),
        "tt0000003": (None, None),
    }


def test_of_many_verdicts_the_first_are_named(
    place: Place, release: Callable[..., Any], tmp_path: Path
) -> None:
    loading = Loading(place, "media", tmp_path)
    loading.load([release(n, rejection_status="override", updated_at=LATER) for n in range(1, 31)])
    (line,) = loading.load([release(n) for n in range(1, 31)]).verdict_lines()
    assert line.startswith("kept 30 verdicts of people")
    assert "; and 10 more); " in line


@pytest.mark.parametrize("event", ["INSERT", "UPDATE"])
def test_a_row_that_a_trigger_keeps_out_is_told(
    releases: Loading, release: Callable[..., Any], event: str
) -> None:
    """Kept out: 'unchanged', of a row that is not there or not as the file has it."""
    number = {"INSERT": 9, "UPDATE": 3}[event]
    releases.place.library.execute(
        "CREATE FUNCTION atp.keep_out() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN NULL; END $$"
    )
    releases.place.library.execute(
        f"CREATE TRIGGER keep_out BEFORE {event} ON atp.media FOR EACH ROW"
        f" WHEN (NEW.hash = '{hash_of(number)}') EXECUTE FUNCTION atp.keep_out()"
    )
    report = releases.load([release(number, imdb_votes=5), release(8)])
    assert (report.added, report.changed, report.unchanged, report.refused_rows) == (1, 0, 0, 1)
    assert report.refused == {"a trigger or rule of the table keeps it out": (1, [hash_of(number)])}

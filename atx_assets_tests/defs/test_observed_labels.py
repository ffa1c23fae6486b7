"""What `raw_media` and `atx doctor` tell of labels that the downloader gave to reviewed rows."""

import errno
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atx_assets import schemas
from atx_assets.automation.observe import fingerprints_now
from atx_assets.commands.doctor.media import MediaDatabase
from atx_assets.settings import read_settings
from atx_assets.sources.extracted import snapshot_of
from atx_assets.sources.load.load import load_file
from atx_assets.sources.observed_record import ObservedRecord
from atx_assets.sources.sorted_library import SortedLibrary
from atx_assets.storage import replacing
from atx_assets_tests.builders.workplace import Workplace, copy_home

pytestmark = pytest.mark.slow

#: Reviewed rows 1 to 50, and rows 51 to 110 that nobody has reviewed; keeps and skips in turn.
REVIEWED, ROWS = 50, 110
DAY = datetime(2025, 4, 1, tzinfo=UTC)


def made(number: int) -> dict[str, Any]:
    known = {
        "imdb_id": f"tt{number:07}",
        "label": "would_watch" if number % 2 else "would_not_watch",
        "human_labeled": False,
        "anomalous": False,
        "reviewed": number <= REVIEWED,
        "media_type": "movie",
        "media_title": f"Film {number}",
        "created_at": DAY,
        "updated_at": DAY,
    }
    return dict.fromkeys(c.name for c in schemas.TRAINING) | known


@pytest.fixture
def filled(workplace: Workplace, tmp_path: Path) -> Workplace:
    rows = [made(number) for number in range(1, ROWS + 1)]
    table = pa.Table.from_pylist(rows, schemas.arrow_schema(schemas.TRAINING))
    pq.write_table(table, tmp_path / "export.parquet")
    with workplace.connect() as connection:
        load_file(connection, tmp_path / "export.parquet")
    extract(workplace)
    return workplace


def extract(place: Workplace) -> dict[str, Any]:
    """Materialise raw_media alone; what its page says."""
    result = place.run(assets=[dg.AssetKey("raw_media")])
    assert result.success
    (event,) = result.asset_materializations_for_node("raw_media")
    return {name: value.value for name, value in event.metadata.items()}


def change(place: Workplace, query: str) -> None:
    with place.connect() as connection:
        connection.execute(query.encode())


def downloader_writes(place: Workplace) -> None:
    change(place, "UPDATE atp.training SET label = 'would_not_watch' WHERE imdb_id = 'tt0000001'")


def job_reviews(place: Workplace) -> None:
    change(place, "UPDATE atp.training SET reviewed = true")


def test_what_was_seen_is_said_on_the_page_by_doctor_and_nothing_learns_from_it(
    filled: Workplace, tmp_path: Path
) -> None:
    downloader_writes(filled)
    job_reviews(filled)
    page = extract(filled)
    assert page["labels of the downloader's"] == 1 + ROWS - REVIEWED
    assert "| Film 1 | keep | skip | changed by the downloader |" in page["not learned from"]
    assert "| Film 51 | keep | keep | reviewed by a job |" in page["not learned from"]
    titles = pa.concat_tables(SortedLibrary(filled.files, tmp_path).titles())
    givers = dict(zip(titles["key"].to_pylist(), titles["label_source"].to_pylist(), strict=True))
    assert givers == {
        f"tt{n:07}": "rule" if 1 < n <= REVIEWED else "model" for n in range(1, ROWS + 1)
    }
    assert titles["trains"].to_pylist() == [giver == "rule" for giver in givers.values()]
    with filled.environment():
        settings = read_settings()
        # No refresh without end: a sensor reads what the extraction has recorded.
        recorded = snapshot_of(filled.files.read_table("raw_media"))["fingerprints"]
        assert asdict(fingerprints_now(settings)) == recorded
        media = MediaDatabase(settings)
        assert f"{REVIEWED - 1} with a label" in media.check()
        told = media.check_labels()
    assert told.startswith("1 changed by the downloader (Film 1 (tt0000001, skip)), 60 reviewed")
    assert "by a job (Film 51 (tt0000051, keep); " in told
    assert "; and 55 more)" in told


def test_a_library_in_which_nothing_was_seen_says_so(filled: Workplace) -> None:
    page = extract(filled)
    assert "labels of the downloader's" not in page
    with filled.environment():
        media = MediaDatabase(read_settings())
        media.check()
        assert media.check_labels() == "the downloader has given none to a reviewed row"


@pytest.mark.parametrize("at", ["observed_labels.parquet", "media.parquet"])
def test_a_run_that_dies_between_record_and_file_is_made_up_for_by_the_next(
    filled: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Kept out: a label that changed, of which one file knows and the other does not."""
    copy_home(filled.home, tmp_path / "other")
    other = Workplace(filled.database, tmp_path / "other")
    downloader_writes(filled)
    extract(other)
    before = filled.files.path("raw_media").read_bytes()

    def fails(announce: Callable[..., None]) -> Callable[..., None]:
        def announced(path: Path, coming: Path) -> None:
            if path.name == at:
                raise OSError(errno.ENOSPC, "no room")
            announce(path, coming)

        return announced

    with monkeypatch.context() as broken:
        broken.setattr(replacing, "announce", fails(replacing.announce))
        assert not filled.run(assets=[dg.AssetKey("raw_media")]).success
    assert filled.files.path("raw_media").read_bytes() == before
    extract(filled)

    def left(place: Workplace) -> tuple[bytes, bytes]:
        record = ObservedRecord(place.home).path
        return record.read_bytes(), place.files.path("raw_media").read_bytes()

    assert left(filled) == left(other)

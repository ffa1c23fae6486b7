"""A library that does not fit in memory becomes the same titles as one that does."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources import by_title
from atx_assets.sources.contract import RowCounts, sort_rows
from atx_assets.sources.layouts import LAYOUTS
from atx_assets.sources.sorted_library import SortedLibrary, sort_extracted
from atx_assets.sources.titles import titles
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.writer_lock import only_writer
from atx_assets_tests.sources.conftest import DAY, make_entry, make_release

Row = dict[str, Any]


def write_rows(files: DataFolder, layout: str, rows: Sequence[Row], a_part: int) -> pa.Table:
    """Leave rows as `raw_media` does, with so many to a row group."""
    columns = schemas.MEDIA if layout == "media" else schemas.TRAINING
    about = json.dumps({"layout": layout, "fingerprints": {}}).encode()
    table = pa.Table.from_pylist(list(rows), schemas.arrow_schema(columns))
    table = table.replace_schema_metadata({b"atx": about}).sort_by(LAYOUTS[layout].key)
    with pq.ParquetWriter(files.path("raw_media"), table.schema) as writer:
        writer.write_table(table, a_part)
    return table


def counts_of(found: RowCounts) -> dict[str, Any]:
    counts = {name: getattr(found, name) for name in RowCounts.__dataclass_fields__}
    return counts | {"broken": {rule: at.tolist() for rule, at in found.broken.items()}}


def drawn_release(draw: Callable[..., Any], number: int) -> Row:
    """A release of one of few titles, so that most have several; some are broken or mended."""
    one_of = {
        "imdb_id": [None, "tt0000001", "tt0000002", "tt0000003"],
        "media_title": ["Alien", "Alien", " ALIEN", "Zorro", "ttt"],
        "release_year": [1979, 1979, 1979, None],
        "rt_score": [50, 50, 50, 101],
        "imdb_rating": [None, 7.5, 75.0],
        "genre": [["Drama"], ["Drama"], ["Drama", None]],
        "media_type": ["movie", "movie", "movie", "tv_show"],
        "rejection_status": ["override", "accepted", "rejected", "unfiltered"],
        "rejection_reason": [None, "rt_score is null"],
    }
    known = {name: draw(st.sampled_from(values)) for name, values in one_of.items()}
    # Sometimes a key that stands twice, be it in two parts.
    return make_release(number - draw(st.sampled_from([0, 0, 0, 0, 1])), **known)


@pytest.fixture
def files(tmp_path: Path) -> DataFolder:
    (tmp_path / "data").mkdir()
    return DataFolder(tmp_path / "data")


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_parts_and_ranges_make_the_titles_that_the_whole_makes(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("library")
    files = DataFolder(folder)
    rows = [drawn_release(data.draw, number) for number in range(data.draw(st.integers(1, 10)))]
    table = write_rows(files, "media", rows, data.draw(st.integers(1, 5)))
    whole = sort_rows(table, LAYOUTS["media"])
    with pytest.MonkeyPatch.context() as patch, files.scratch("titles") as scratch:
        patch.setattr(by_title, "ROWS_A_RANGE", data.draw(st.integers(1, 5)))
        patch.setattr(by_title, "_SAMPLED", 2)
        library = SortedLibrary(files, scratch)
        assert counts_of(library.counts) == counts_of(whole)
        assert counts_of(sort_extracted(files)) == counts_of(whole)
        try:
            expected = titles(whole.rows, LAYOUTS["media"], whole.verdicts)
        except AtxError:
            with pytest.raises(AtxError, match="no film"):
                list(library.titles())
        else:
            found = pa.concat_tables(library.titles())
            assert found.equals(expected)
            assert library.schema.equals(found.schema)
    assert [path.name for path in folder.iterdir()] == ["media.parquet"]


def test_the_training_layout_comes_in_ranges_too(files: DataFolder, monkeypatch):
    rows = [make_entry(n, label="would_watch", human_labeled=n % 2 == 0) for n in range(9)]
    table = write_rows(files, "training", rows, 2)
    monkeypatch.setattr(by_title, "ROWS_A_RANGE", 4)
    monkeypatch.setattr(by_title, "_SAMPLED", 1)
    with files.scratch("titles") as scratch:
        library = SortedLibrary(files, scratch)
        waiting = sorted(path.name for path in scratch.iterdir())
        parts = list(library.titles())
    assert waiting == ["0.arrow", "1.arrow", "last.arrow"]
    assert [part.num_rows for part in parts] == [3, 3, 3]
    expected = titles(sort_rows(table, LAYOUTS["training"]).rows, LAYOUTS["training"])
    assert pa.concat_tables(parts).equals(expected)


def test_a_library_that_fits_writes_nothing_beside(files: DataFolder):
    write_rows(files, "media", [make_release(n) for n in range(5)], 2)
    with files.scratch("titles") as scratch:
        assert sum(part.num_rows for part in SortedLibrary(files, scratch).titles()) == 5
        assert not scratch.exists()


def test_a_file_that_is_not_in_the_order_of_its_keys_is_refused(files: DataFolder):
    rows = [make_release(n, created_at=DAY) for n in range(4)]
    table = write_rows(files, "media", rows, 2)
    with pq.ParquetWriter(files.path("raw_media"), table.schema) as writer:
        writer.write_table(table.slice(2))
        writer.write_table(table.slice(0, 2))
    with pytest.raises(AtxError, match="not in the order of its keys: materialise raw_media"):
        sort_extracted(files)


def test_what_a_killed_run_left_waiting_goes_with_the_next_one(files: DataFolder):
    left = files.folder / ".titles.scratch.new"
    left.mkdir()
    (left / "0.arrow").write_bytes(b"rows")
    with only_writer(files.folder, "run", None):
        assert not left.exists()

"""Loading what is hardly a parquet file any more, or says more than memory holds.

`fuzz_load.py` does the same for as long as one likes. What it has found has a name here.
"""

import io
import random
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atx_assets.home.memory import bounded_memory
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.sample import LIBRARY
from atx_assets.settings import Database
from atx_assets.sources.layouts import LAYOUTS
from atx_assets_tests.fuzz.loading import Loading, Outcome
from atx_assets_tests.fuzz.mutations import MUTATIONS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fuzz")]

ROWS = 60
#: Files of each kind; `fuzz_load.py` makes as many as there is time for.
MUTANTS = 6


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return pq.read_table(LIBRARY).slice(0, ROWS).combine_chunks()


@pytest.fixture(scope="module")
def loading(
    postgres: EmbeddedPostgres, rows: pa.Table, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Loading]:
    postgres.ensure_database("fuzz")
    database = Database(postgres.host, postgres.port, "fuzz", postgres.user)
    made = Loading(database, rows.slice(0, ROWS // 2), tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutant_is_loaded_whole_or_refused_in_a_line(
    loading: Loading, rows: pa.Table, name: str
) -> None:
    rng = random.Random(name)
    for _ in range(MUTANTS):
        outcome = loading.load(MUTATIONS[name](rng, rows))
        assert outcome.fault == ""


def test_the_law_is_told_from_its_breach(loading: Loading, rows: pa.Table) -> None:
    whole = loading.load(_written(rows))
    assert (list(whole.counts), whole.fault) == ([ROWS, ROWS // 2, 0, ROWS // 2, 0], "")


# What was found, or would be by a better fuzz


def _written(table: pa.Table, **options: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", **options)
    return stream.getvalue()


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def _refused(outcome: Outcome, reason: str) -> None:
    assert outcome.fault == ""
    assert reason in outcome.said


@pytest.mark.slow
@pytest.mark.parametrize(("name", "as_list"), [("media_title", False), ("genre", True)])
def test_one_long_text_that_every_row_repeats_is_not_written_out(
    loading: Loading, rows: pa.Table, name: str, as_list: bool
) -> None:
    """Kept out: 70 kB that unpack to 200 GB, because a dictionary holds the text once."""
    count = 20_000
    many = rows.take(pa.array(np.arange(count) % len(rows)))
    many = _with(many, "hash", pa.array([f"{i:040x}" for i in range(count)]))
    texts: pa.Array = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(count, np.int32)), pa.array(["x" * 10**7])
    )
    if as_list:
        texts = pa.ListArray.from_arrays(pa.array(np.arange(count + 1), pa.int32()), texts)
    content = _written(_with(many, name, texts), dictionary_pagesize_limit=2**30)
    assert len(content) < 10**6
    outcome = loading.load(content)
    _refused(outcome, f"20,000 because {name} is longer than 1,048,576 bytes")


def test_a_word_that_is_just_not_too_long_is_loaded_in_pieces(
    loading: Loading, rows: pa.Table
) -> None:
    """Kept out: room for 60 words of the mean length at once, were there 60,000 rows of them."""
    words = pa.DictionaryArray.from_arrays(
        pa.array(np.arange(ROWS) % 2, pa.int32()), pa.array(["x" * 2**20, "y"])
    )
    outcome = loading.load(_written(_with(rows, "error_condition", words)), memory=2**28)
    assert outcome.fault == ""
    assert outcome.counts[-1] == 0


def test_a_text_of_thirty_megabytes_is_refused_and_the_other_rows_go_in(
    loading: Loading, rows: pa.Table
) -> None:
    """Kept out: a value that PostgreSQL has no room for, and the whole load failing on it."""
    titles = pa.array(["x" * 3 * 10**7, *["y"] * (ROWS - 1)])
    content = _written(_with(rows, "media_title", titles), use_dictionary=False)
    assert len(content) < 10**6
    outcome = loading.load(content)
    _refused(outcome, "1 because media_title is longer than 1,048,576 bytes")
    assert outcome.counts[-1] == 1


def test_a_list_of_a_million_nulls_is_refused(loading: Loading, rows: pa.Table) -> None:
    ends = np.arange(ROWS + 1) + np.where(np.arange(ROWS + 1) > 3, 10**6, 0)
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.nulls(int(ends[-1]), "string"))
    outcome = loading.load(_written(_with(rows, "genre", lists)))
    _refused(outcome, "1 because genre has more than 100,000 entries")


@pytest.mark.slow
def test_a_file_that_says_more_than_memory_holds_is_refused_in_a_line(
    loading: Loading, rows: pa.Table
) -> None:
    """Kept out: some kilobytes that unpack to more than there is, and a killed process."""
    ends = np.where(np.arange(ROWS + 1) > 3, 3 * 10**7, 0)
    with bounded_memory(8 * 2**30):
        lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.nulls(3 * 10**7, "string"))
        content = _written(_with(rows, "genre", lists))
    assert len(content) < 10**6
    outcome = loading.load(content, memory=2**25)
    _refused(outcome, "needs more memory than there is; nothing was loaded")


def test_a_column_whose_name_is_no_text_is_refused_in_a_line(
    loading: Loading, rows: pa.Table
) -> None:
    """Kept out: UnicodeDecodeError of a name with one bit turned."""
    content = _written(rows, store_schema=False)
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    at = content.index(b"rejection_reason", start)
    outcome = loading.load(content[:at] + b"\xff" + content[at + 1 :])
    _refused(outcome, "is not a whole parquet file")


def test_a_thousand_columns_too_many_are_not_all_told(loading: Loading, rows: pa.Table) -> None:
    """Kept out: a line of some thousand names, or of one long one."""
    for i in range(1000):
        rows = rows.append_column(f"more_{i}" + "x" * 1000 * (i == 1), pa.nulls(ROWS))
    outcome = loading.load(_written(rows))
    _refused(outcome, "more_8, more_9 and 990 more; leave them out")


def test_a_key_that_a_terminal_would_obey_is_told_as_text(loading: Loading, rows: pa.Table) -> None:
    keys = rows["hash"].to_pylist()
    keys[:2] = ["\x1b[2J\r\n" + "x" * 999, "\0"]
    outcome = loading.load(_written(_with(rows, "hash", pa.array(keys))))
    _refused(outcome, "1 because hash does not fit char(40): ?[2J  xxx")
    assert "\x1b" not in outcome.said
    assert "x" * 61 not in outcome.said
    assert outcome.counts[-1] == 2


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_of_columns_without_a_row_or_of_neither_is_refused(
    loading: Loading, rows: pa.Table, layout: str
) -> None:
    names = [c.name for c in LAYOUTS[layout].columns]
    _refused(
        loading.load(_written(pa.table({n: pa.nulls(0, "null") for n in names}))), "but no rows"
    )
    _refused(loading.load(_written(pa.table({}))), "has neither layout of atx")

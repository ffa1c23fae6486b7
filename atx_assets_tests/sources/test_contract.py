"""How rows are sorted: every one is counted once, whatever it holds and wherever it stands."""

import math
import re
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.contract import sort_rows
from atx_assets.sources.layouts import LAYOUTS, MEDIA, TRAINING

KEYS = {"media": f"{7:040x}", "training": "tt0000007"}
TEXTS = [
    "",
    "N/A",
    "Film",
    " Film ",
    "Fi\x07lm",
    "\x1b[31m\n",
    "\t",
    "x" * 1001,
    "tt1234567",
    "\x9f",
]
IDS = ["tt1234567", " tt1234567", "tt123456789", "", "N/A", "tt12", "TT1234567"]
TIMES = [datetime(2025, 4, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)]


def values_of(column: schemas.Column, key: str) -> st.SearchStrategy:
    """Good, odd and bad values of a column."""
    if column.name in ("hash", "imdb_id") and column.name == key:
        good = [f"{n:040x}" if column.name == "hash" else f"tt{n:07}" for n in range(4)]
        return st.sampled_from([*good, "", "N/A", "XYZ", "tt123456789", None])
    choices = {
        schemas.STRING: [*(column.values or TEXTS), "maybe", None],
        schemas.STRINGS: [
            None,
            [],
            ["N/A"],
            [None, None],
            [" Drama", "Drama\x00", "", None],
            ["x"] * 251,
            ["y" * 1001],
        ],
        schemas.INT: [None, 0, -1, 50, 101, 1999, 9999, 2**62],
        schemas.FLOAT: [None, 0.0, 0.5, 7.1, 10.0, 71.0, math.nan, math.inf, -math.inf, 1e308],
        schemas.BOOL: [None, True, False],
        schemas.TIME: [None, *TIMES],
    }[column.type]
    return st.sampled_from(IDS if column.pattern else choices)


@st.composite
def tables(draw, layout) -> pa.Table:
    """Any table of a layout; a good row is as likely as a bad one."""
    good = {c.name: None for c in layout.columns}
    good |= {"media_type": "movie", "media_title": "Film", "original_title": "Film"}
    rows = []
    for n in range(draw(st.integers(0, 12))):
        row = {k: v for k, v in good.items() if k in {c.name for c in layout.columns}}
        row[layout.key] = f"{n:040x}" if layout.key == "hash" else f"tt{n:07}"
        for column in draw(st.lists(st.sampled_from(layout.columns), max_size=3)):
            row[column.name] = draw(values_of(column, layout.key))
        rows.append(row)
    return pa.Table.from_pylist(rows, schemas.arrow_schema(layout.columns))


def is_bad(row: dict, layout, keys: list) -> bool:
    """The contract once more, a row and a value at a time."""
    named = {c.name: c for c in layout.columns}
    key = row[layout.key]
    if key in (None, "", "N/A") or keys.count(key) > 1:
        return True
    if not re.fullmatch(named[layout.key].pattern, key):
        return True
    if row["media_type"] not in named["media_type"].values:
        return True
    if row["media_type"] != "movie":
        return False

    def clean(text):
        text = re.sub("[\t-\r\x85\u2028\u2029]+", " ", text)
        return re.sub("[\x00-\x08\x0e-\x1f\x7f-\x9f]", "", text).strip()

    for column in layout.columns:
        value = row[column.name]
        if not column.required or column.name in (layout.key, "media_type"):
            continue
        if value is None:
            if not column.nullable:
                return True
        elif column.type == schemas.STRING:
            verdict = column.values or column.name == "rejection_reason"
            value = value if verdict else clean(value)
            if column.values and value not in column.values:
                return True
            known = value not in ("", "N/A")
            if column.pattern and known and not re.fullmatch(column.pattern, value):
                return True
            if column.longest and len(value) > column.longest:
                return True
        elif column.type == schemas.STRINGS:
            entries = [e for e in (clean(v or "") for v in value) if e not in ("", "N/A")]
            if len(entries) > 250 or any(len(e) > 1000 for e in entries):
                return True
        elif column.high is not None and value > column.high:
            return True
        # Nobody's rating is 0: it is what a service says that knows of none.
        elif value == 0 and column.name == "imdb_rating":
            pass
        elif column.low is not None and value < column.low:
            return True
    return all(clean(row[n] or "") in ("", "N/A") for n in layout.names)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
class TestAnyTable:
    @settings(max_examples=80, deadline=None)
    @given(data=st.data())
    def test_every_row_is_counted_once_and_set_aside_for_a_reason(self, layout, data):
        table = data.draw(tables(layout))
        found = sort_rows(table, layout)
        assert found.good + found.mended + found.quarantined == found.read == table.num_rows
        assert found.rows.num_rows == found.good + found.mended
        assert len(found.set_aside) == found.quarantined
        rows, keys = table.to_pylist(), table[layout.key].to_pylist()
        bad = [at for at, row in enumerate(rows) if is_bad(row, layout, keys)]
        assert found.set_aside.tolist() == bad

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_the_order_of_the_rows_changes_nothing(self, layout, data):
        table = data.draw(tables(layout))
        order = data.draw(st.permutations(range(table.num_rows)))
        found = sort_rows(table, layout)
        other = sort_rows(table.take(pa.array(order, pa.int64())), layout)
        assert other.reasons == found.reasons
        assert other.mends == found.mends
        assert (other.good, other.mended) == (found.good, found.mended)
        assert sorted(in_words(other.rows)) == sorted(in_words(found.rows))

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_what_goes_on_is_good_and_stays_as_it_is(self, layout, data):
        once = sort_rows(data.draw(tables(layout)), layout)
        again = sort_rows(once.rows, layout)
        assert again.quarantined == 0
        assert in_words(again.rows) == in_words(once.rows)
        # Ratings on two scales are counted, and left to the encoder.
        assert not {kind for kind in again.mends if "scale" not in kind}

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_chunks_and_slices_change_nothing(self, layout, data):
        table = data.draw(tables(layout))
        cut = data.draw(st.integers(0, table.num_rows))
        parts = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
        found, other = sort_rows(table, layout), sort_rows(parts, layout)
        assert in_words(other.rows) == in_words(found.rows)
        assert (other.reasons, other.mends) == (found.reasons, found.mends)


def in_words(table: pa.Table) -> list[str]:
    """The rows as texts: a NaN, which a series may have, is not equal to itself."""
    return [repr(row) for row in table.to_pylist()]


def media(release, *rows) -> pa.Table:
    made = [release(n, **row) for n, row in enumerate(rows)]
    return pa.Table.from_pylist(made, schemas.arrow_schema(schemas.MEDIA))


def test_a_row_with_several_mends_counts_once(release):
    table = media(release, {"media_title": " Fi\x07lm ", "genre": ["Drama ", None]}, {})
    found = sort_rows(table, MEDIA)
    assert (found.good, found.mended, found.quarantined) == (1, 1, 0)
    assert found.mends == {
        "genre trimmed": 1,
        "genre without entries that say nothing": 1,
        "media_title trimmed": 1,
        "media_title without control characters": 1,
    }
    assert found.rows["media_title"].to_pylist() == ["Film", "Film 1"]
    assert found.rows["genre"].to_pylist() == [["Drama"], None]


def test_what_parts_words_becomes_a_blank(release):
    found = sort_rows(media(release, {"media_title": "The\r\n\tFilm\u2028two"}), MEDIA)
    assert found.rows["media_title"].to_pylist() == ["The Film two"]


def test_a_row_breaks_several_rules_and_counts_once(release):
    found = sort_rows(media(release, {"metascore": 101, "imdb_votes": -1}, {}), MEDIA)
    assert found.quarantined == 1
    assert found.reasons == {"imdb_votes is below 0": 1, "metascore is above 100": 1}


def test_a_row_that_is_mended_twice_counts_once(release):
    both = {"media_title": " Alien", "imdb_rating": 7.5}
    scale = [{"imdb_rating": rating} for rating in (7.5, 75.0, 76.0, 77.0)]
    found = sort_rows(media(release, both, *scale), MEDIA)
    assert (found.good, found.mended) == (3, 2)
    assert found.mends == {
        "imdb_rating on the scale that most are not on": 2,
        "media_title trimmed": 1,
    }


def test_every_row_of_a_key_that_stands_twice_is_set_aside(release):
    table = media(release, {}, {}, {"hash": f"{0:040x}", "media_type": "tv_show"})
    found = sort_rows(table, MEDIA)
    assert found.reasons == {"hash occurs more than once": 2}
    assert found.set_aside.tolist() == [0, 2]


def test_what_is_no_film_is_judged_by_key_and_media_type_alone(release):
    odd = {"release_year": 2160, "imdb_id": "tt1", "media_title": " x ", "original_title": None}
    table = media(
        release,
        odd | {"media_type": "tv_season"},
        odd | {"media_type": "miniseries"},
        odd | {"media_type": None},
        odd | {"media_type": "tv_show", "hash": "XYZ"},
    )
    found = sort_rows(table, MEDIA)
    assert (found.good, found.mended, found.quarantined) == (1, 0, 3)
    assert found.rows.to_pylist() == table.slice(0, 1).to_pylist()


def test_a_film_needs_one_of_its_names(release):
    nameless = {"media_title": "N/A", "original_title": " "}
    found = sort_rows(media(release, nameless, {"media_title": None}, {}), MEDIA)
    assert found.reasons == {"media_title is missing": 1}


@pytest.mark.parametrize("reason", [" ", "N/A", " N/A", "\x07"])
def test_a_reason_is_not_mended(release, reason):
    """Kept out: a rule's skip that reads as a person's, who gives no reason."""
    table = media(release, {"rejection_status": "rejected", "rejection_reason": reason})
    found = sort_rows(table, MEDIA)
    assert found.good == 1
    assert found.rows.equals(table)


def test_a_key_is_not_mended(entry):
    """Kept out: a key that names no row of the table any more, and is corrected in vain."""
    rows = [entry(1) | {"imdb_id": " tt0000001"}, entry(2)]
    table = pa.Table.from_pylist(rows, schemas.arrow_schema(schemas.TRAINING))
    found = sort_rows(table, TRAINING)
    assert list(found.reasons) == [f"imdb_id does not match {schemas.IMDB_ID}"]


def test_unknown_numbers_stay_as_they_are(entry):
    """0 means unknown in them, and is no fault."""
    zeros = dict.fromkeys(("budget", "revenue", "runtime", "imdb_votes", "tmdb_votes"), 0)
    rows = [entry(1, **zeros), entry(2)]
    table = pa.Table.from_pylist(rows, schemas.arrow_schema(schemas.TRAINING))
    found = sort_rows(table, TRAINING)
    assert (found.good, found.read) == (2, 2)
    assert found.rows.equals(table)


def test_nan_is_missing_and_what_has_no_end_is_set_aside(release):
    table = media(release, {"imdb_rating": math.nan}, {"imdb_rating": math.inf}, {})
    found = sort_rows(table, MEDIA)
    assert found.mends == {"imdb_rating NaN to missing": 1}
    assert found.rows["imdb_rating"].to_pylist() == [None, None]
    assert found.reasons == {"imdb_rating is above 100": 1}


@pytest.mark.parametrize(
    ("ratings", "counted"),
    [
        ([71.0, 83.0, 10.0], 0),
        ([7.1, 8.3, 10.0], 0),
        ([71.0, 83.0, 7.7], 1),
        ([7.1, 8.3, 77.0, 10.0], 1),
        ([7.1, 77.0], 1),
    ],
)
def test_ratings_on_the_scale_that_fewer_are_on_are_counted_and_left(release, ratings, counted):
    table = media(release, *({"imdb_rating": rating} for rating in ratings))
    found = sort_rows(table, MEDIA)
    assert sum(found.mends.values()) == found.mended == counted
    assert found.rows.equals(table)


def test_a_column_that_is_missing_or_of_another_type_is_named(release):
    table = media(release, {})
    with pytest.raises(AtxError, match=r"^atp\.media: metascore is missing: "):
        sort_rows(table.drop_columns(["metascore"]), MEDIA)
    at = table.column_names.index("uploader")
    wrong = table.set_column(at, "uploader", pa.nulls(1, pa.int64()))
    with pytest.raises(AtxError, match="uploader is int64, not string"):
        sort_rows(wrong, MEDIA)


def test_a_table_without_rows_is_sorted(release):
    found = sort_rows(media(release), MEDIA)
    assert (found.read, found.share, found.reasons, found.mends) == (0, 0.0, {}, {})


@pytest.mark.real_data
@pytest.mark.parametrize(("layout", "rows"), [("media", 7744), ("training", 1500)])
def test_no_row_of_a_real_library_is_set_aside(real_rows, layout, rows):
    found = sort_rows(real_rows(layout), LAYOUTS[layout])
    assert (found.read, found.quarantined) == (rows, 0)
    films = np.count_nonzero(pc.equal(found.rows["media_type"], "movie").to_numpy())
    assert films == {"media": 7127, "training": 1481}[layout]
    assert found.mended == {"media": 98, "training": 0}[layout]

"""Titles that are handed in: what is taken, and one line for each thing that is not."""

import json
import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.contract import sort_rows
from atx_assets.sources.given_titles import given_titles
from atx_assets.sources.layouts import LAYOUTS, MEDIA, TRAINING
from atx_assets.sources.titles import titles
from atx_assets_tests.test_text import SPELLINGS

NAN = float("nan")
FILM = {"imdb_id": "tt0133093", "media_title": "The Matrix", "release_year": 1999}


def refused(records: list, layout=MEDIA) -> str:
    """The one line that says what is wrong with the records."""
    with pytest.raises(AtxError) as caught:
        given_titles(records, layout)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_table_has_the_columns_of_the_layout_and_a_row_a_record_in_their_order(layout):
    made = given_titles([FILM, {"imdb_id": "tt0000002"}, FILM], layout)
    wanted = dict.fromkeys(("key", "imdb_id", "media_title", *layout.features))
    assert made.column_names == list(wanted)
    assert made["key"].to_pylist() == ["tt0133093", "tt0000002", "tt0133093"]
    types = {column.name: schemas.arrow_type(column.type) for column in layout.columns}
    assert all(made[name].type == types[name] for name in made.column_names[1:])


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_no_titles_make_an_empty_table(layout):
    assert given_titles([], layout).num_rows == 0


def test_what_is_not_given_and_what_is_null_is_unknown():
    made = given_titles([FILM, FILM | {"genre": None, "rt_score": None}], MEDIA).to_pylist()
    assert made[0] == made[1]
    assert made[0]["genre"] is made[0]["rt_score"] is made[0]["imdb_votes"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"genre": ["Action", None]},
        {"genre": ["Action", NAN, "N/A", "", " Action"]},
        {"genre": ["Action"], "language": [None, NAN]},
        {"genre": ["Action"], "language": NAN, "rt_score": NAN, "imdb_rating": NAN},
        {"genre": ["Action"], "media_title": NAN, "original_title": " The Matrix "},
    ],
    ids=str,
)
def test_null_and_nan_are_unknown_wherever_they_stand(change):
    """Kept out: a title refused for an entry that its row in the table may have."""
    (row,) = given_titles([FILM | change], MEDIA).to_pylist()
    (known,) = given_titles([FILM | {"genre": ["Action"]}], MEDIA).to_pylist()
    assert set(row["genre"]) == {"Action"}
    assert row | {"genre": None} == known | {"genre": None}


def test_values_come_through_as_they_are():
    record = FILM | {
        "rt_score": 87,
        "imdb_rating": 8.7,
        "imdb_votes": 2_000_000.0,
        "genre": ["Action", "Sci-Fi"],
        "language": [],
    }
    (row,) = given_titles([record], MEDIA).to_pylist()
    assert {name: row[name] for name in record} == record


def test_columns_that_tell_nothing_of_a_film_may_stand_there():
    """So that a whole row of the table can be handed in."""
    whole = dict.fromkeys(c.name for c in MEDIA.columns) | FILM
    whole |= {"rejection_status": "override", "hash": "f" * 40, "created_at": "2025-04-01"}
    assert given_titles([whole], MEDIA).equals(given_titles([FILM], MEDIA))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_title_is_known_by_its_name_however_it_is_spelled(spelling):
    record = {"media_title": spelling, "release_year": 2001}
    assert given_titles([record], MEDIA)["key"].to_pylist() == ["amélie poulain|2001"]


@pytest.mark.parametrize("nothing", ["\u200b", "\ufeff \u00ad"])
def test_a_name_that_nobody_can_see_is_none(nothing):
    assert "neither imdb_id nor media_title" in refused([{"media_title": nothing}])


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"media_title": "Straße", "release_year": 2001}, "strasse|2001"),
        ({"media_title": "The Matrix"}, "the matrix|"),
        ({"media_title": "The Matrix", "imdb_id": None}, "the matrix|"),
        ({"media_title": "The Matrix", "imdb_id": "tt0133093"}, "tt0133093"),
        ({"imdb_id": "tt0133093"}, "tt0133093"),
        ({"original_title": "The.Matrix.1999", "release_year": 1999}, "the.matrix.1999|1999"),
    ],
)
def test_a_title_is_known_by_its_id_or_else_by_name_and_year(record, key):
    assert given_titles([record], MEDIA)["key"].to_pylist() == [key]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rt_score": "87"}, "rt_score must be a whole number, but is '87'"),
        ({"rt_score": 87.5}, "rt_score must be a whole number, but is 87.5"),
        ({"rt_score": True}, "rt_score must be a whole number, but is True"),
        ({"rt_score": float("inf")}, "rt_score must be a whole number, but is inf"),
        ({"imdb_votes": 2**63}, "imdb_votes must be a whole number, but is 9223372036854775808"),
        ({"rt_score": 101}, "rt_score is above 100: 101"),
        ({"rt_score": -1}, "rt_score is below 0: -1"),
        ({"release_year": 9999}, "release_year is above 2100: 9999"),
        ({"imdb_rating": "8.7"}, "imdb_rating must be a number, but is '8.7'"),
        ({"imdb_rating": [8.7]}, "imdb_rating must be a number, but is [8.7]"),
        ({"imdb_rating": float("inf")}, "imdb_rating must be a number, but is inf"),
        ({"imdb_rating": 10**400}, "imdb_rating "),
        (
            {"genre": "Action"},
            "genre must be a list of texts, such as [\"Drama\"], but is 'Action'",
        ),
        ({"genre": ["Action", 7]}, "genre must be a list of texts"),
        ({"genre": ["Action", float("inf")]}, "genre must be a list of texts"),
        ({"genre": {"Action": 1}}, "genre must be a list of texts"),
        ({"media_title": 1999}, "media_title must be text, but is 1999"),
        ({"media_title": "\ud800"}, "media_title "),
        ({"genre": ["\ud800"]}, "genre "),
        ({"imdb_id": "tt123"}, "imdb_id does not match"),
        ({"imdb_id": 133093}, "imdb_id must be text, but is 133093"),
    ],
    ids=lambda value: json.dumps(value)[:30] if isinstance(value, dict) else "",
)
def test_a_value_that_its_column_does_not_take_is_told_with_title_and_column(change, says):
    line = refused([FILM, FILM, FILM | change])
    assert line.startswith("title 3: ")
    assert says in line
    assert len(line) < 200


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (["tt0133093"], "title 2 must be an object with columns, but is ['tt0133093']"),
        ("tt0133093", "title 2 must be an object with columns, but is 'tt0133093'"),
        (None, "title 2 must be an object with columns, but is None"),
        (7, "title 2 must be an object with columns, but is 7"),
        (
            FILM | {"metascroe": 73},
            "title 2 has an unknown column 'metascroe'; did you mean metascore",
        ),
        (FILM | {"budget": 73}, "title 2 has an unknown column 'budget'; "),
        (FILM | {"zzz": 73}, "title 2 has an unknown column 'zzz'; the columns are hash, "),
        (FILM | {"": 73}, "title 2 has an unknown column ''; "),
        ({}, "title 2 has neither imdb_id nor media_title: give one of them"),
        ({"release_year": 1999}, "title 2 has neither imdb_id nor media_title"),
        ({"media_title": "", "imdb_id": None}, "title 2 has neither imdb_id nor media_title"),
    ],
)
def test_what_is_no_title_is_told_with_its_number(record, says):
    assert refused([FILM, record]).startswith(says)


def test_the_other_layout_has_other_columns():
    record = FILM | {"budget": 63_000_000, "production_companies": ["Warner"]}
    assert given_titles([record], TRAINING)["budget"].to_pylist() == [63_000_000]
    assert "unknown column 'hash'" in refused([{"hash": "f" * 40}], TRAINING)


# Whatever is handed in

NAMES = tuple(c.name for c in MEDIA.columns)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from([*NAMES]), inner, max_size=4)
    ),
    max_leaves=8,
)
NUMBERS = st.integers(-(2**70), 2**70) | st.floats()
RECORDS = st.dictionaries(
    st.sampled_from(
        ["imdb_id", "media_title", "release_year", "imdb_rating", "imdb_votes", "genre"]
    ),
    JSON | NUMBERS | st.lists(st.text(max_size=5) | st.none(), max_size=3),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(records=st.lists(JSON | RECORDS, max_size=3), layout=st.sampled_from([MEDIA, TRAINING]))
def test_any_json_is_a_row_each_or_one_line(records, layout):
    try:
        made = given_titles(records, layout)
    except AtxError as error:
        said = str(error)
    else:
        assert made.num_rows == len(records)
        assert made["key"].null_count == 0
        return
    assert said.isprintable()
    assert len(said) < 1000
    assert said.startswith("title ")


def test_a_whole_number_that_no_float_has_is_taken_as_the_nearest():
    """Kept out: a traceback of Arrow's for a rating of 2**53 + 1, and one for its votes."""
    assert "imdb_rating is above 100" in refused([FILM | {"imdb_rating": 2**53 + 1}])


def test_a_long_name_of_a_column_is_not_repeated_whole():
    assert len(refused([{"x" * 10_000: 1}])) < 1000


# The other door: a row of the table

TEXTS = [None, "", "N/A", " N/A ", "Film", " Film ", "Fi\x07lm", "\x1b[31m\n", "\t", "x" * 1001]
WORDS = [None, "", "N/A", "Drama", " Drama", "Dra\x00ma", "y" * 1001]
IDS = ["tt1234567", " tt1234567", "tt12", "TT1234567", "", "N/A", None]


def held(column: schemas.Column) -> st.SearchStrategy:
    """What a table may hold in a column: good, odd and bad values."""
    return {
        schemas.STRING: st.sampled_from(IDS if column.pattern else TEXTS),
        schemas.STRINGS: st.none() | st.lists(st.sampled_from(WORDS), max_size=4),
        schemas.INT: st.sampled_from([None, 0, -1, 50, 101, 1999, 9999, 2**40]),
        schemas.FLOAT: st.sampled_from([None, 0.0, 7.1, 10.0, 71.0, 101.0, -1.0, NAN, math.inf]),
    }[column.type]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_title_handed_in_is_its_row_in_the_table(layout, release, entry, data):
    """Kept out: two doors with different manners: a title taken here and refused there."""
    row = release(7) if layout is MEDIA else entry(7)
    names = dict.fromkeys(("imdb_id", *layout.names, *layout.features))
    for column in layout.columns:
        if column.name in names and column.name != layout.key and data.draw(st.booleans()):
            row[column.name] = data.draw(held(column), label=column.name)
    table = pa.Table.from_pylist([row], schemas.arrow_schema(layout.columns))
    found = sort_rows(table, layout)
    if found.quarantined:
        # A table wants a name of each row; of a title that is handed in, the id will do.
        if not all(reason.endswith("is missing") for reason in found.reasons):
            assert refused([row], layout).startswith("title 1")
        return
    made = given_titles([row], layout)
    assert made.to_pylist() == titles(found.rows, layout).select(made.column_names).to_pylist()

"""Rows as bad as PostgreSQL lets them be, in a real table: what is said of each, and what goes on.

Each layout has one table with all of them among good rows, extracted and sorted once.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from psycopg import errors, sql

from atx_assets.definitions import build_defs
from atx_assets.defs.resources.files import DataFiles
from atx_assets.sources.contract import SortedRows, sort_rows
from atx_assets.sources.extracted import snapshot_of, with_snapshot
from atx_assets.sources.layouts import LAYOUTS
from atx_assets.sources.quarantine import quarantine_table
from atx_assets.sources.read.extract import DATES, NOT_UTF8, mended_on_reading
from atx_assets_tests.builders.environment import as_settings

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bad rows")]

#: Good rows beside the bad ones, half of them keeps.
GOOD = 240
FIRST_BAD = 1000
LONG = "b" * 10_000_000

ASIDE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "negative votes": ({"imdb_votes": -5}, ["imdb_votes is below 0: -5"]),
    "year 0": ({"release_year": 0}, ["release_year is below 1870: 0"]),
    "year 9999": ({"release_year": 9999}, ["release_year is above 2100: 9999"]),
    "rating 0.5": ({"imdb_rating": 0.5}, ["imdb_rating is below 1: 0.5"]),
    "rating 1e308": ({"imdb_rating": 1e308}, ["imdb_rating is above 100: 1e+308"]),
    "rating without end": ({"imdb_rating": float("inf")}, ["imdb_rating is above 100: inf"]),
    "scores of 101": (
        {"rt_score": 101, "metascore": 101},
        ["metascore is above 100: 101", "rt_score is above 100: 101"],
    ),
    "10,000 entries": (
        {"genre": [f"g{n}" for n in range(10_000)]},
        ["genre has more than 250 entries: ['g0', 'g1', 'g2', … 10,000 in all]"],
    ),
    "an entry of 10 MB": (
        {"genre": [LONG]},
        [
            "genre has an entry of more than 1,000 characters: "
            f"['{'b' * 60}'… (10,000,000 characters)]"
        ],
    ),
    "a title of 10 MB": (
        {"media_title": LONG},
        [f"media_title is longer than 1,000 characters: '{'b' * 60}'… (10,000,000 characters)"],
    ),
    "a media type unknown to us": (
        {"media_type": "miniseries"},
        ["media_type is an unknown value: 'miniseries'"],
    ),
}
ASIDE_OF = {
    "media": {
        "an id of nine digits": (
            {"imdb_id": "tt123456789"},
            ["imdb_id does not match ^tt[0-9]{7,8}$: 'tt123456789'"],
        ),
        "a verdict unknown to us": (
            {"rejection_status": "maybe"},
            ["rejection_status is an unknown value: 'maybe'"],
        ),
        "no title at all": (
            {"media_title": "N/A", "original_title": " "},
            ["media_title is missing: 'N/A'"],
        ),
        "a hash that is none": ({"hash": "HASH"}, ["hash does not match ^[0-9a-f]{40}$: 'HASH'"]),
        "no hash": ({"hash": None}, ["hash is missing"]),
    },
    "training": {
        "an id of nine digits": (
            {"imdb_id": "tt123456789"},
            ["imdb_id does not match ^tt[0-9]{7,8}$: 'tt123456789'"],
        ),
        "a verdict unknown to us": (
            {"label": "maybe"},
            ["label is an unknown value: 'maybe'"],
        ),
        "no title at all": ({"media_title": ""}, ["media_title is missing: ''"]),
        "negative budget": ({"budget": -1}, ["budget is below 0: -1"]),
        "TMDb rating of 11": ({"tmdb_rating": 11}, ["tmdb_rating is above 10: 11.0"]),
        "no id": ({"imdb_id": None}, ["imdb_id is missing"]),
    },
}
#: What is mended, and how the column reads afterwards.
MENDED: dict[str, tuple[dict[str, Any], str, Any]] = {
    "control characters": ({"media_title": "Ti\x07t\x1b[2Jl\x9be\n"}, "media_title", "Tit[2Jle"),
    "blanks around": ({"media_title": "  A film\t"}, "media_title", "A film"),
    "not a number": ({"imdb_rating": float("nan")}, "imdb_rating", None),
    "an array of nulls": ({"genre": [None, None]}, "genre", None),
    "an array with nulls and blanks": ({"genre": [None, "", "N/A", " Drama"]}, "genre", ["Drama"]),
    "the other scale": ({"imdb_rating": 6.6}, "imdb_rating", 6.6),
}
#: What is no fault, and how the column reads.
WELL: dict[str, tuple[dict[str, Any], str, Any]] = {
    "a nested array": ({"genre": [["a", "b"], ["c", "d"]]}, "genre", ["a", "b", "c", "d"]),
    "a rating of 0, as of a film that nobody rated": ({"imdb_rating": 0.0}, "imdb_rating", 0.0),
    "an empty array": ({"genre": []}, "genre", []),
    "the year 9000": ({"updated_at": "9000-01-01"}, "media_type", "movie"),
    "a season whose year is a resolution": (
        {"media_type": "tv_season", "release_year": 2160},
        "release_year",
        2160,
    ),
}
WELL_OF = {
    "media": {
        "a status unknown to us": ({"pipeline_status": "odd"}, "media_type", "movie"),
        "a path of 10 MB": ({"parent_path": LONG}, "media_type", "movie"),
    },
    "training": {
        "an overview of 10 MB": ({"overview": LONG}, "media_type", "movie"),
        "what is unknown": ({"budget": 0, "runtime": 0}, "budget", 0),
    },
}
#: Times that no calendar of ours has.
TIMES = ("infinity", "-infinity", "0044-03-15 BC", "294000-01-01")
NUMBERS = {"imdb_rating": "numeric", "release_year": "int"}
LOOSE = {
    "media": {**NUMBERS, "hash": "text"},
    "training": {
        **NUMBERS,
        "imdb_id": "text",
        "media_title": "text",
        "genre": "text[]",
        "tmdb_rating": "numeric",
    },
}


@dataclass
class Sorted:
    """A table of good and bad rows, run through the graph; `season` has the number of each row."""

    layout: str
    files: DataFiles
    run: dg.ExecuteInProcessResult
    numbers: dict[str, int]

    def place(self, case: str) -> int:
        """Where a row stands in what was read."""
        seasons: list[int] = self.read["season"].to_pylist()
        return seasons.index(self.numbers[case])

    @cached_property
    def read(self) -> pa.Table:
        return self.files.read_table("raw_media")

    @cached_property
    def found(self) -> SortedRows:
        return sort_rows(self.read, LAYOUTS[self.layout])

    @cached_property
    def after(self) -> dict[int, dict[str, Any]]:
        """The rows that go on, by number."""
        rows = self.found.rows.select(
            ["season", "media_type", "media_title", "release_year", "genre", "imdb_rating"]
            + (["budget"] if self.layout == "training" else [])
        )
        return {row["season"]: row for row in rows.to_pylist()}

    @cached_property
    def aside(self) -> dict[int, dict[str, Any]]:
        """The rows that are set aside, by number."""
        listed = self.files.read_table("quarantine").to_pylist()
        return {json.loads(row["row"])["season"]: row for row in listed}


@pytest.fixture(scope="module", params=["media", "training"])
def bad(
    request: pytest.FixtureRequest,
    library_named: Callable[[str], AbstractContextManager[Any]],
    release: Callable[..., dict[str, Any]],
    entry: Callable[..., dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Sorted:
    layout, home = request.param, tmp_path_factory.mktemp("bad")
    known, make = LAYOUTS[layout], {"media": release, "training": entry}[layout]
    verdict = {
        "media": [{"rejection_status": "override"}, {"rejection_status": "accepted"}],
        "training": [
            {"label": "would_watch", "human_labeled": True},
            {"label": "would_not_watch", "reviewed": True},
        ],
    }[layout]
    if layout == "media":
        verdict[1] = {"rejection_status": "rejected", "rejection_reason": "N/A"}
    rated = {"imdb_rating": 66.0, "metascore": 50, "genre": ["Drama"]}
    rows = [make(n, season=n, **verdict[n % 2], **rated) for n in range(GOOD)]
    cases = ASIDE | ASIDE_OF[layout] | MENDED | WELL | WELL_OF[layout]
    numbers = {}
    for number, (case, changes) in enumerate(cases.items(), FIRST_BAD):
        numbers[case] = number
        rows.append(make(number) | {"season": number} | changes[0])
    for number, time in enumerate(TIMES, FIRST_BAD + 500):
        numbers[time] = number
        rows.append(make(number, season=number, created_at=time))
    for number in (FIRST_BAD + 600, FIRST_BAD + 601):
        numbers[f"twice {number % 2}"] = number
        rows.append(make(FIRST_BAD + 600) | {"season": number})
    name = f"bad_rows_{layout}"
    with library_named(name) as library:
        library.create(layout, types=LOOSE[layout])
        table = sql.Identifier("atp", known.table)
        library.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                table, sql.Identifier(f"{known.table}_pkey")
            )
        )
        library.execute(
            sql.SQL("ALTER TABLE {} ALTER {} DROP NOT NULL").format(
                table, sql.Identifier(known.key)
            )
        )
        for kind, value in (
            ("media_type", "miniseries"),
            ("rejection_status", "maybe"),
            ("label", "maybe"),
            ("pipeline_status", "odd"),
        ):
            library.execute(f"ALTER TYPE atp.{kind} ADD VALUE IF NOT EXISTS '{value}'")
        library.insert(layout, rows)
        found = library.database
    settings = {
        **as_settings(found),
        "ATX_HOME": str(home),
        "ATX_DATA_DIR": str(home / "data"),
    }
    wanted = ("raw_media", "quarantine", "titles", "feature_encoding", "training_table")
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        for setting, value in settings.items():
            patch.setenv(setting, value)
        run = (
            build_defs()
            .resolve_job_def("full_rebuild")
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                asset_selection=[dg.AssetKey(asset) for asset in wanted],
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
        )
    return Sorted(layout, DataFiles(directory=str(home / "data")), run, numbers)


def test_the_graph_goes_on_with_a_warning(bad: Sorted):
    assert bad.run.success
    checks = {e.check_name: e for e in bad.run.get_asset_check_evaluations()}
    assert checks["source_contract"].severity == dg.AssetCheckSeverity.WARN
    assert not checks["source_contract"].passed
    assert len(checks["source_contract"].description) < 2_000
    training = bad.files.read_table("training_table")
    assert training.num_rows == GOOD
    told = {
        e.asset_key.to_user_string(): e.step_materialization_data.materialization.metadata
        for e in bad.run.get_asset_materialization_events()
    }
    page = {name: value.value for name, value in told["quarantine"].items()}
    assert page["good"] + page["mended"] + page["set aside"] == page["rows read"]
    assert page["rows read"] == told["raw_media"]["dagster/row_count"].value
    assert all(len(str(value)) < 20_000 for value in page.values())


@pytest.mark.parametrize("case", [*ASIDE, *sorted(ASIDE_OF["media"] | ASIDE_OF["training"])])
def test_a_row_is_set_aside_with_its_reasons(bad: Sorted, case: str):
    cases = ASIDE | ASIDE_OF[bad.layout]
    if case not in cases:
        return  # a column that the other layout has
    row = bad.aside[bad.numbers[case]]
    assert row["reasons"] == cases[case][1]
    assert len(row["row"]) < 10_000
    # Nothing is lost: the whole row is in media.parquet.
    assert bad.read["season"][bad.place(case)].as_py() == bad.numbers[case]


def test_rows_of_one_key_are_set_aside_all_of_them(bad: Sorted):
    aside, key = bad.aside, LAYOUTS[bad.layout].key
    for case in ("twice 0", "twice 1"):
        (reason,) = aside[bad.numbers[case]]["reasons"]
        assert reason.startswith(f"{key} occurs more than once: '")


@pytest.mark.parametrize("case", MENDED)
def test_a_row_is_mended_and_goes_on(bad: Sorted, case: str):
    _, column, reads = MENDED[case]
    assert bad.after[bad.numbers[case]][column] == reads
    assert any(kind.startswith(f"{column} ") for kind in bad.found.mends)
    assert bad.numbers[case] not in bad.aside


@pytest.mark.parametrize("case", [*WELL, *WELL_OF["media"], *WELL_OF["training"]])
def test_a_row_that_is_odd_and_no_fault_goes_on_as_it_is(bad: Sorted, case: str):
    cases = WELL | WELL_OF[bad.layout]
    if case not in cases:
        return  # a column that the other layout has
    _, column, reads = cases[case]
    assert bad.after[bad.numbers[case]][column] == reads


def test_nothing_else_is_set_aside_or_mended(bad: Sorted):
    aside = {bad.numbers[case] for case in ASIDE | ASIDE_OF[bad.layout]}
    aside |= {bad.numbers[case] for case in ("twice 0", "twice 1")}
    assert set(bad.aside) == aside
    assert bad.found.mended == len(MENDED)


def test_times_that_no_calendar_has_are_mended_while_reading(bad: Sorted):
    assert mended_on_reading(bad.files.path("raw_media")) == {DATES: len(TIMES)}
    for time in TIMES:
        assert bad.read["created_at"][bad.place(time)].as_py() is None
        assert bad.numbers[time] not in bad.aside


def test_the_same_rows_make_the_same_bytes(bad: Sorted, tmp_path: Path):
    layout = LAYOUTS[bad.layout]
    made = quarantine_table(bad.files.path("raw_media"), bad.found, layout)
    before = bad.files.path("quarantine").read_bytes()
    again = DataFiles(directory=str(tmp_path))
    snapshot = snapshot_of(bad.files.read_table("quarantine"))
    carried = with_snapshot(made, {**snapshot, "rows_read": bad.found.read})
    parts = bad.files.made_from("quarantine")
    assert again.write_table("quarantine", carried, parts).read_bytes() == before
    assert bad.files.path("quarantine").stat().st_size < 100_000


def test_a_nul_is_refused_by_postgresql_itself(library, release):
    library.create("media")
    with pytest.raises(psycopg.DataError, match="NUL"):
        library.insert("media", [release(1, media_title="Fi\0lm")])
    with pytest.raises(errors.UntranslatableCharacter):
        library.execute(r"SELECT '{\"t\": \"\u0000\"}'::jsonb ->> 't'".replace('\\"', '"'))


def test_half_of_a_surrogate_pair_gets_in_where_the_database_has_no_encoding(
    postgres, library_named, release, tmp_path
):
    """UTF-8 of U+D800, which is none, and a byte of Latin-1: they become U+FFFD and are counted."""
    with library_named("postgres") as library:
        library.execute(
            "CREATE DATABASE bad_rows_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
        )
    with library_named("bad_rows_ascii") as library:
        library.create("media", [release(1), release(2), release(3)])
        update = "UPDATE atp.media SET media_title = convert_from(%s, 'SQL_ASCII') WHERE hash = %s"
        library.execute(update, (b"Half \xed\xa0\x80.", f"{1:040x}"))
        library.execute(update, (b"Caf\xe9", f"{2:040x}"))
        rows = library.extract(tmp_path / "media.parquet")
    titles = rows["media_title"].to_pylist()
    assert titles == ["Half \ufffd\ufffd\ufffd.", "Caf\ufffd", "Film 3"]
    assert mended_on_reading(tmp_path / "media.parquet") == {NOT_UTF8: 4}
    found = sort_rows(rows, LAYOUTS["media"])
    assert (found.good, found.quarantined) == (3, 0)
    assert pc.all(pc.equal(found.rows["media_title"], rows["media_title"])).as_py()


def test_bytes_that_are_no_text_do_not_stop_the_look_at_the_labels(
    postgres, library_named, release, tmp_path
):
    """Kept out: a person's keep and skip, one of such a title, and every run and tick failed."""
    with library_named("postgres") as library:
        library.execute(
            "CREATE DATABASE labels_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"
        )
    with library_named("labels_ascii") as library:
        keep = {"rejection_status": "override", "imdb_id": None}
        skip = {"rejection_status": "rejected", "imdb_id": None}
        library.create("media", [release(1, **keep), release(2, **skip), release(3, **skip)])
        update = "UPDATE atp.media SET media_title = convert_from(%s, 'SQL_ASCII') WHERE hash = %s"
        prints = [library.fingerprints()]
        for number in (1, 2):
            library.execute(update, (b"Caf\xe9", f"{number:040x}"))
            prints.append(library.fingerprints())
    # Labels of a title of another name; then both of one title, and the later one counts.
    assert len({p.labels for p in prints}) == 3


def test_half_of_a_surrogate_pair_is_refused_where_it_has_one(library, release):
    library.create("media", [release(1)])
    with pytest.raises(errors.CharacterNotInRepertoire):
        library.execute(
            "UPDATE atp.media SET media_title = convert_from(%s, 'UTF8')", (b"\xed\xa0\x80",)
        )

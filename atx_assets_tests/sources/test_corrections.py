"""A person's verdicts, from ids to rows and back, on real PostgreSQL in both layouts."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from atx_assets.errors import AtxError
from atx_assets.resources import corrections
from atx_assets.resources.correction_record import CorrectionRecord, Journal
from atx_assets.resources.corrections import Corrected, check_permission
from atx_assets.settings import Settings, read_settings
from atx_assets.sources import corrections as source_corrections
from atx_assets.sources.corrections import plan_correction
from atx_assets.sources.layouts import LAYOUTS, find_source
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
        self.library.execute(
            "CREATE FUNCTION atp.touch() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$"
        )
        self.library.execute(
            f"CREATE TRIGGER touch BEFORE UPDATE ON atp.{table}"
            " FOR EACH ROW EXECUTE FUNCTION atp.touch()"
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


def test_a_keep_is_written_to_every_release_of_the_title_as_the_original_did(media: Place) -> None:
    done = media.correct("keep", "tt0000001")
    rows = media.rows()
    for number in (0xA1, 0xA2, 0xA3):
        assert parts(rows[hash_of(number)]) == KEPT
    assert media.labels()["tt0000001"] == (True, "human")
    assert done.number == 1
    assert {row.key for row in done.plan.rows} == {hash_of(n) for n in (0xA1, 0xA2, 0xA3)}


def test_a_skip_is_a_rejection_without_a_reason_and_nothing_else(media: Place) -> None:
    before = media.rows()
    media.correct("skip", hash_of(0xA3).upper())
    after = media.rows()
    for number in (0xA1, 0xA2, 0xA3):
        was, is_now = before[hash_of(number)], after[hash_of(number)]
        assert is_now["updated_at"] != was["updated_at"]
        expected = was | {"rejection_status": "rejected", "rejection_reason": None}
        assert is_now == expected | {"updated_at": is_now["updated_at"]}
    assert media.labels()["tt0000001"] == (False, "human")


def test_only_rows_of_the_titles_named_are_touched(media: Place) -> None:
    before = media.rows()
    media.correct("keep", hash_of(4), "tt0000005")
    after = media.rows()
    assert {key for key in before if before[key] != after[key]} == {hash_of(4), hash_of(5)}
    assert media.labels()["nobody's|1990"] == (True, "human")


def test_a_title_that_a_person_already_judged_so_is_not_written_at_all(media: Place) -> None:
    before = media.rows()
    for verdict, id_ in (("keep", "tt0000002"), ("skip", "tt0000003")):
        done = media.correct(verdict, id_)
        assert done.number is None
        assert [t.rows for t in done.plan.titles] == [()]
        assert done.plan.records()[0]["becomes"] == "unchanged"
    assert media.rows() == before
    assert media.record.entries() == []
    done = media.correct("skip", "tt0000002", "tt0000003")
    assert [row.key for row in done.plan.rows] == [hash_of(2)]


def test_a_persons_verdict_can_be_turned_either_way(media: Place) -> None:
    media.correct("skip", "tt0000002")
    media.correct("keep", "tt0000003")
    labels = media.labels()
    assert labels["tt0000002"] == (False, "human")
    assert labels["tt0000003"] == (True, "human")


def test_a_person_who_said_both_of_one_title_is_taken_at_the_correction(
    place: Place, release: Callable[..., Any]
) -> None:
    same = {"imdb_id": "tt0000001", "media_title": "One"}
    place.library.create(
        "media",
        [
            release(0xA1, **same, rejection_status="rejected", updated_at="2025-05-01"),
            release(0xA2, **same, rejection_status="override", pipeline_status="complete"),
        ],
    )
    place.touch_on_update()
    assert place.labels()["tt0000001"] == (False, "human")
    place.correct("keep", "tt0000001")
    assert place.labels()["tt0000001"] == (True, "human")
    assert [parts(row) for row in place.rows().values()] == [KEPT, KEPT]
    done = place.undo(1)
    # Restored in the order in which they were touched: the skip is the later word again.
    assert place.labels()["tt0000001"] == (False, "human")
    assert [t.becomes for t in done.plan.titles] == ["skip (human)"]


@pytest.mark.parametrize(
    ("verdict", "label"), [("keep", "would_watch"), ("skip", "would_not_watch")]
)
def test_in_the_training_layout_a_verdict_is_a_label_given_by_a_person(
    training: Place, verdict: str, label: str
) -> None:
    before = training.rows("training")
    training.correct(verdict, "tt0000001", "tt0000003", "tt0000004")
    after = training.rows("training")
    for id_ in ("tt0000001", "tt0000003", "tt0000004"):
        expected = before[id_] | {"label": label, "human_labeled": True, "reviewed": True}
        assert after[id_] == expected | {"updated_at": after[id_]["updated_at"]}
        assert training.labels("training")[id_] == (verdict == "keep", "human")
    assert after["tt0000002"] == before["tt0000002"]


def test_a_label_that_a_person_gave_is_left_in_the_training_layout(training: Place) -> None:
    before = training.rows("training")
    assert training.correct("keep", "tt0000002").number is None
    assert training.rows("training") == before


def test_columns_that_a_table_does_not_have_are_not_written(
    place: Place, release: Callable[..., Any]
) -> None:
    absent = ("pipeline_status", "error_status", "error_condition")
    row = {k: v for k, v in release(1).items() if k not in absent}
    place.library.create("media", [row], without=absent)
    done = place.correct("keep", "tt0000001")
    assert done.plan.columns == ("rejection_status", "rejection_reason")
    assert done.plan.warnings() == []
    assert place.labels()["tt0000001"] == (True, "human")


def test_a_training_table_without_reviewed_is_written(
    place: Place, entry: Callable[..., Any]
) -> None:
    row = entry(1)
    del row["reviewed"]
    place.library.create("training", [row], without=["reviewed"])
    place.correct("skip", "tt0000001")
    assert place.labels("training")["tt0000001"] == (False, "human")


def test_a_training_table_without_human_labeled_is_refused_with_the_mend(
    place: Place, entry: Callable[..., Any]
) -> None:
    row = entry(1)
    del row["human_labeled"]
    place.library.create("training", [row], without=["human_labeled"])
    before = place.rows("training")
    for write in (True, False):
        line = place.refused("keep", "tt0000001", write=write)
        assert "ALTER TABLE atp.training ADD COLUMN human_labeled bool" in line
    assert place.rows("training") == before


# The preview


@pytest.mark.parametrize("table", ["media", "training"])
def test_a_preview_writes_nothing_and_records_nothing(
    table: str, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(table)
    before, prints = place.rows(table), place.library.fingerprints()
    done = place.correct("keep", "tt0000001", write=False)
    assert done.number is None
    assert done.plan.rows
    assert place.rows(table) == before
    assert place.library.fingerprints() == prints
    assert not place.home.exists()


def test_a_preview_is_made_in_a_transaction_that_cannot_write(
    media: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_all_the_same(connection: psycopg.Connection, *_: Any, **__: Any) -> None:
        connection.execute("UPDATE atp.media SET rejection_status = 'override'")

    monkeypatch.setattr(source_corrections, "plan_correction", write_all_the_same)
    assert "may only be read" in media.refused("keep", "tt0000001", write=False)


def test_a_preview_can_be_had_with_select_alone_and_says_what_is_missing(media: Place) -> None:
    with media.role("GRANT SELECT ON atp.media TO {}") as user:
        done = media.correct("keep", "tt0000001", write=False, ATX_CORRECTION_PG_USER=user)
    assert any("GRANT SELECT, UPDATE (" in w for w in done.plan.warnings())


def test_the_preview_says_title_label_giver_and_what_becomes_of_it(media: Place) -> None:
    done = media.correct("keep", "tt0000002", "tt0000005", "tt0000001", write=False)
    assert done.plan.records() == [
        {
            "title": "Film 5",
            "year": 2001,
            "IMDb id": "tt0000005",
            "releases": 1,
            "now": "unjudged",
            "becomes": "keep (human)",
            "note": "",
        },
        {
            "title": "One",
            "year": 2001,
            "IMDb id": "tt0000001",
            "releases": 3,
            "now": "keep (rule)",
            "becomes": "keep (human)",
            "note": "1 complete: may be fetched again",
        },
        {
            "title": "Film 2",
            "year": 2001,
            "IMDb id": "tt0000002",
            "releases": 1,
            "now": "keep (human)",
            "becomes": "unchanged",
            "note": "",
        },
    ]
    assert done.plan.warnings() == [
        "the downloader may now fetch 4 releases of 2 titles: their pipeline_status becomes "
        "ingested",
        "1 release of them may be fetched again: One (2001), complete",
    ]


def test_a_skip_warns_of_no_download(media: Place) -> None:
    assert media.correct("skip", "tt0000001", write=False).plan.warnings() == []


def test_the_label_of_a_model_is_told_as_such(training: Place) -> None:
    done = training.correct("skip", "tt0000004", "tt0000001", write=False)
    records = done.plan.records()
    assert [r["now"] for r in records] == ["keep (model)", "skip (rule)"]
    assert "releases" not in records[0]
    assert done.plan.warnings() == []


# Ids


def test_a_title_given_twice_is_one_title(media: Place) -> None:
    ids = ("tt0000001", hash_of(0xA1), hash_of(0xA3), hash_of(0xA1).upper(), " tt0000001 ")
    done = media.correct("keep", *ids, write=False)
    assert [t.title for t in done.plan.titles] == ["One"]
    assert len(done.plan.rows) == 3


def test_all_ids_that_cannot_be_used_are_listed_and_nothing_is_written(media: Place) -> None:
    before = media.rows()
    bad = ["", "tt12", "tt0000001\n'; DROP TABLE atp.media; --", "{0} %s", "TT0000005"]
    unknown = ["tt9999999", "f" * 40]
    not_films = ["tt0000009", hash_of(9)]
    for write in (False, True):
        line = media.refused("keep", "tt0000005", *bad, *unknown, *not_films, write=write)
        assert line.startswith("9 of 10 ids cannot be used, and nothing was written")
        for text in (*map(repr, bad), *unknown, "tt0000009 (tv_show)", f"{hash_of(9)} (tv_show)"):
            assert text in line
    assert media.rows() == before
    assert media.record.entries() == []


def test_a_title_whose_rows_are_set_aside_is_refused_with_the_reason(media: Place) -> None:
    media.library.execute("UPDATE atp.media SET metascore = 101 WHERE imdb_id = 'tt0000005'")
    before = media.rows()
    line = media.refused("keep", "tt0000005", write=True)
    assert line.startswith(
        "1 of 1 ids cannot be used, and nothing was written (set aside, since metascore is above "
        "100: 101 (mend it at its source first): tt0000005)"
    )
    assert "\n" not in line
    assert media.rows() == before


def test_a_release_that_is_set_aside_gets_the_verdict_of_its_title_too(media: Place) -> None:
    """Kept out: a person's skip that is a keep again once that release is mended."""
    bad = hash_of(0xA1)
    media.library.execute(
        "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL"
        " WHERE imdb_id = 'tt0000001'"
    )
    media.library.execute("UPDATE atp.media SET release_year = 0 WHERE hash = %s", (bad,))
    before = media.rows()
    for given in ("tt0000001", bad):
        plan = media.correct("skip", given, write=False).plan
        assert bad in {row.key for row in plan.rows}
        assert [(title.releases, len(title.rows)) for title in plan.titles] == [(3, 3)]
    media.correct("skip", "tt0000001")
    media.library.execute("UPDATE atp.media SET release_year = 2001 WHERE hash = %s", (bad,))
    assert media.labels()["tt0000001"] == (False, "human")
    # And back, while it is set aside once more.
    media.library.execute("UPDATE atp.media SET release_year = 0 WHERE hash = %s", (bad,))
    undone = media.undo(1)
    assert undone.plan.left == ()
    after = media.rows()
    for key, row in before.items():
        assert {**after[key], "updated_at": None} == {**row, "updated_at": None}


def test_what_a_release_that_is_set_aside_says_is_told_and_comes_back(media: Place) -> None:
    """The later word of two is that of the release set aside, before and after undoing."""
    bad, ours = hash_of(0xA1), "imdb_id = 'tt0000001'"
    for status, of in (("rejected", ours), ("override", f"hash = '{bad}'")):
        media.library.execute(
            f"UPDATE atp.media SET rejection_status = '{status}', rejection_reason = NULL"
            f" WHERE {of}"
        )
    media.library.execute("UPDATE atp.media SET imdb_votes = -1 WHERE hash = %s", (bad,))
    (title,) = media.correct("skip", "tt0000001", write=False).plan.titles
    assert (title.label, title.becomes) == ("keep (human)", "skip (human)")
    media.correct("skip", "tt0000001")
    media.undo(1)
    (title,) = media.correct("skip", "tt0000001", write=False).plan.titles
    assert title.label == "keep (human)"


def test_a_release_set_aside_of_a_title_that_is_so_already_is_written_alone(media: Place) -> None:
    bad = hash_of(0xA1)
    media.correct("skip", "tt0000001")
    media.library.execute(
        "UPDATE atp.media SET release_year = 0, rejection_status = 'override' WHERE hash = %s",
        (bad,),
    )
    done = media.correct("skip", "tt0000001")
    assert [row.key for row in done.plan.rows] == [bad]
    assert media.rows()[bad]["rejection_status"] == "rejected"


def test_a_hash_is_refused_where_the_table_knows_none(training: Place) -> None:
    line = training.refused("keep", hash_of(1), "tt0000009")
    assert hash_of(1) in line
    assert "tt0000009 (tv_season)" in line
    assert "2 of 2 ids" in line
    assert "give IMDb ids such as" in line


def test_no_id_at_all_is_refused(media: Place) -> None:
    assert media.refused("keep").startswith("no id was given")


def test_a_nameless_release_joins_no_title_if_two_have_its_name(
    place: Place, release: Callable[..., Any]
) -> None:
    place.library.create(
        "media",
        [
            release(1, media_title="Twin", imdb_id="tt0000001"),
            release(2, media_title="Twin", imdb_id="tt0000002"),
            release(3, media_title="twin", imdb_id=None),
        ],
    )
    done = place.correct("keep", "tt0000001", hash_of(3))
    assert [(t.imdb_id, t.releases) for t in done.plan.titles] == [("tt0000001", 1), (None, 1)]
    assert place.labels() == {
        "tt0000001": (True, "human"),
        "tt0000002": (None, None),
        "twin|2001": (True, "human"),
    }


def test_only_films_are_of_a_title(place: Place, release: Callable[..., Any]) -> None:
    place.library.create(
        "media",
        [
            release(1),
            release(2, imdb_id="tt0000001", media_type="tv_show"),
            release(3, imdb_id=None, media_title="Same"),
            release(4, imdb_id="tt0000004", media_title="Same", media_type="tv_show"),
        ],
    )
    before = place.rows()
    done = place.correct("keep", "tt0000001", hash_of(3))
    assert [(t.imdb_id, t.releases) for t in done.plan.titles] == [("tt0000001", 1), (None, 1)]
    after = place.rows()
    assert {key for key in before if before[key] != after[key]} == {hash_of(1), hash_of(3)}


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_library_is_corrected_by_the_titles_that_scores_name(
    place: Place, real_rows: Callable[[str], Any], shared_data: Path
) -> None:
    """Kept out: a second way to group releases, which drifts from that of titles.py."""
    from atx_assets.sources.load import load_file

    load_file(place.library.connection, shared_data / "media.parquet")
    made = titles(real_rows("media"), LAYOUTS["media"])
    ids = [row["imdb_id"] or row["hash"] for row in made.select(["hash", "imdb_id"]).to_pylist()]
    before = place.labels()
    done = place.correct("skip", *ids[::7])
    assert len(done.plan.titles) == len(ids[::7])
    wanted = set(made["key"].to_pylist()[::7])
    after = place.labels()
    assert all(after[key] == (False, "human") for key in wanted)
    assert {k: v for k, v in after.items() if k not in wanted} == {
        k: v for k, v in before.items() if k not in wanted
    }
    place.undo(1)
    assert place.labels() == before


# Who may


GRANT = "GRANT SELECT, UPDATE (rejection_status, rejection_reason) ON atp.media TO {}"


def test_the_user_of_corrections_is_the_one_who_writes(media: Place) -> None:
    media.library.execute("ALTER TABLE atp.media ADD COLUMN by_whom text")
    media.library.execute(
        "CREATE FUNCTION atp.sign() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.by_whom := current_user; RETURN NEW; END $$"
    )
    media.library.execute(
        "CREATE TRIGGER sign BEFORE UPDATE ON atp.media FOR EACH ROW EXECUTE FUNCTION atp.sign()"
    )
    # The columns that are written, and no more, are all that it needs.
    with media.role(GRANT) as user:
        media.correct("skip", "tt0000005", ATX_CORRECTION_PG_USER=user)
        assert media.rows()[hash_of(5)]["by_whom"] == user
        line = media.refused("keep", "tt0000005", ATX_CORRECTION_PG_USER=user)
    assert '"pipeline_status"' in line


def test_who_may_not_update_is_told_the_grant(media: Place) -> None:
    before = media.rows()
    with media.role("GRANT SELECT ON atp.media TO {}") as user:
        line = media.refused("skip", "tt0000005", PG_USER=user, ATX_CORRECTION_PG_USER="")
        quoted = f'"{user}"'
        assert (
            'GRANT SELECT, UPDATE ("rejection_status", "rejection_reason") ON atp.media '
            f"TO {quoted};" in line
        )
        assert "ATX_CORRECTION_PG_USER" in line
        media.library.execute(line[line.index("GRANT SELECT, UPDATE") :].partition(";")[0])
        media.correct("skip", "tt0000005", PG_USER=user, ATX_CORRECTION_PG_USER="")
    assert media.rows() != before


def test_rows_that_row_level_security_keeps_from_the_user_fail_the_whole(media: Place) -> None:
    """Kept out: a title of which only some releases are written, with success told."""
    media.library.execute("ALTER TABLE atp.media ENABLE ROW LEVEL SECURITY")
    before = media.rows()
    with media.role(GRANT) as user:
        media.library.execute(f'CREATE POLICY s ON atp.media FOR SELECT TO "{user}" USING (true)')
        media.library.execute(
            f'CREATE POLICY u ON atp.media FOR UPDATE TO "{user}" USING (hash <> {hash_of(0xA2)!r})'
        )
        line = media.refused("skip", "tt0000001", ATX_CORRECTION_PG_USER=user)
    assert f"1 of these rows of atp.media may not be changed by user {user}" in line
    assert hash_of(0xA2) in line
    assert media.rows() == before


def test_the_check_names_the_user_or_what_is_missing(media: Place) -> None:
    with media.role("GRANT SELECT ON atp.media TO {}") as user:
        settings = media.settings(ATX_CORRECTION_PG_USER=user)
        assert "may not change labels" in told_by(lambda: check_permission(settings))
        media.library.execute(f'GRANT UPDATE ON atp.media TO "{user}"')
        assert check_permission(settings) == (
            f"{user} may change labels",
            "UPDATE in atp.media",
        )
    assert check_permission(media.settings()) == ("atx_corrector may change labels", "")


def test_a_user_who_cannot_log_in_is_told_by_the_settings_that_were_used(media: Place) -> None:
    line = media.refused("skip", "tt0000005", ATX_CORRECTION_PG_USER="stranger")
    assert "check ATX_CORRECTION_PG_USER" in line


# Others at work


@pytest.mark.slow
def test_a_row_held_by_another_program_is_waited_for_and_then_told(
    media: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_corrections, "LOCK_SECONDS", 1)
    before = media.rows()
    with media.another() as other:
        other.execute("UPDATE atp.media SET uploader = 'x' WHERE hash = %s", (hash_of(0xA3),))
        line = media.refused("keep", "tt0000001")
        assert "for 1 s, and nothing was written: run it again" in line
        other.rollback()
    assert media.rows() == before
    assert media.record.entries() == []


@pytest.mark.slow
def test_a_row_that_changes_while_it_is_waited_for_is_not_written_over(media: Place) -> None:
    with media.another() as other:
        other.execute(
            "UPDATE atp.media SET pipeline_status = 'downloading' WHERE hash = %s",
            (hash_of(0xA3),),
        )
        timer = threading.Timer(1, other.commit)
        timer.start()
        line = media.refused("keep", "tt0000001")
        timer.join()
    assert "another program changed one of these rows" in line
    assert media.rows()[hash_of(0xA3)]["pipeline_status"] == "downloading"
    assert media.rows()[hash_of(0xA1)]["rejection_status"] == "rejected"
    assert media.record.entries() == []


def test_a_row_cannot_change_between_its_reading_and_the_commit(
    media: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: values in the record that were never those of the row."""
    intend, held = Journal.intend, []

    def while_another_tries(self: Journal, *words: Any, **named: Any) -> int:
        with media.another() as other:
            other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("UPDATE atp.media SET uploader = 'x' WHERE imdb_id = 'tt0000001'")
            held.append(True)
        return intend(self, *words, **named)

    monkeypatch.setattr(Journal, "intend", while_another_tries)
    media.correct("keep", "tt0000001")
    assert held


def test_rows_are_kept_from_others_from_their_reading_on(media: Place) -> None:
    with media.another() as ours, media.another() as other:
        source = find_source(ours)
        plan_correction(ours, source, ["tt0000001"], "keep", lock=True)
        other.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute("UPDATE atp.media SET uploader = 'x' WHERE hash = %s", (hash_of(0xA3),))
        ours.rollback()


def test_two_corrections_at_once_have_two_numbers_and_do_not_mingle(media: Place) -> None:
    results: list[Any] = []

    def run(verdict: str, id_: str) -> None:
        results.append(media.correct(verdict, id_).number)

    threads = [
        threading.Thread(target=run, args=words)
        for words in (("keep", "tt0000001"), ("skip", "tt0000005"), ("skip", "tt0000002"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [1, 2, 3]
    assert [(e["event"], e["number"]) for e in media.events()] == [
        (event, number) for number in (1, 2, 3) for event in ("intent", "committed")
    ]


def test_a_trigger_that_has_its_own_mind_fails_the_whole(media: Place) -> None:
    media.library.execute(
        "CREATE FUNCTION atp.stubborn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.pipeline_status := OLD.pipeline_status; RETURN NEW; END $$"
    )
    media.library.execute(
        "CREATE TRIGGER stubborn BEFORE UPDATE ON atp.media"
        " FOR EACH ROW EXECUTE FUNCTION atp.stubborn()"
    )
    before = media.rows()
    assert "did not keep what was written" in media.refused("keep", "tt0000001", "tt0000005")
    assert media.rows() == before


def test_a_rule_of_the_table_fails_the_whole(media: Place) -> None:
    media.library.execute(
        "ALTER TABLE atp.media ADD CHECK (hash <> %s OR rejection_status <> 'override')".replace(
            "%s", f"'{hash_of(5)}'"
        )
    )
    before = media.rows()
    assert "by a rule of its own" in media.refused("keep", "tt0000001", "tt0000005")
    assert media.rows() == before
    assert media.record.entries() == []


# The record, and undo


def test_the_record_holds_who_when_what_was_and_what_is(media: Place) -> None:
    media.library.execute("UPDATE atp.media SET media_title = E'A\\n|<b>\"é' WHERE hash LIKE '%%5'")
    before = media.rows()[hash_of(5)]
    media.correct("keep", "tt0000005")
    intent, outcome = media.events()
    assert intent["who"].count("@") == 1
    assert intent["via"] == "a test"
    assert intent["at"].endswith("+00:00")
    assert (intent["database"], intent["layout"], intent["verdict"]) == (
        media.library.database.name,
        "media",
        "keep",
    )
    assert intent["rows"] == [
        {
            "key": hash_of(5),
            "title": 'A |<b>"é',
            "year": 2001,
            "imdb_id": "tt0000005",
            "was": parts(before),
            "is": KEPT,
        }
    ]
    assert (outcome["event"], outcome["number"]) == ("committed", 1)
    assert media.record.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("table", ["media", "training"])
@pytest.mark.parametrize("verdict", ["keep", "skip"])
def test_undo_makes_every_row_what_it_was(
    table: str, verdict: str, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(table)

    def known() -> list[dict[str, Any]]:
        return [row | {"updated_at": None} for row in place.rows(table).values()]

    before, labels = known(), place.labels(table)
    place.correct(verdict, "tt0000001", "tt0000002", "tt0000003")
    corrected = known()
    assert corrected != before
    preview = place.undo(1, write=False)
    assert preview.number is None
    assert known() == corrected
    done = place.undo(1)
    assert done.number == 2
    assert known() == before
    assert place.labels(table) == labels
    told = {t.imdb_id: t.becomes for t in done.plan.titles}
    assert told["tt0000001"] == "{} ({})".format(
        "keep" if labels["tt0000001"][0] else "skip", labels["tt0000001"][1]
    )
    # The undo is a correction itself.
    assert place.undo(2).number == 3
    assert known() == corrected
    assert [e["undoes"] for e in place.events() if e["event"] == "intent"] == [None, 1, 2]


def test_undo_of_what_is_already_undone_writes_nothing(media: Place) -> None:
    media.correct("keep", "tt0000001")
    media.undo(1)
    before = media.rows()
    done = media.undo(1)
    assert (done.number, done.plan.alike, done.plan.rows) == (None, 3, ())
    assert media.rows() == before


def test_undo_names_and_leaves_rows_that_changed_since(media: Place) -> None:
    before = media.rows()
    media.correct("keep", "tt0000001", "tt0000005")
    media.library.execute(
        "UPDATE atp.media SET pipeline_status = 'queued' WHERE hash = %s", (hash_of(0xA1),)
    )
    media.library.execute("DELETE FROM atp.media WHERE hash = %s", (hash_of(0xA2),))
    # A column that we do not write is nobody's reason to leave a row.
    media.library.execute("UPDATE atp.media SET uploader = 'x' WHERE hash = %s", (hash_of(0xA3),))
    changed = media.rows()
    done = media.undo(1)
    after = media.rows()
    assert after[hash_of(0xA1)] == changed[hash_of(0xA1)]
    assert parts(after[hash_of(0xA3)]) == parts(before[hash_of(0xA3)])
    assert parts(after[hash_of(5)]) == parts(before[hash_of(5)])
    assert sorted(done.plan.left) == [
        f"One (2001), {hash_of(0xA1)}: pipeline_status is 'queued', written was 'ingested'",
        f"One (2001), {hash_of(0xA2)}: it is gone",
    ]
    assert f"changed since, and left as it is: {done.plan.left[0]}" in done.plan.warnings()


def test_undo_fails_if_every_row_has_changed_since(media: Place) -> None:
    media.correct("keep", "tt0000005")
    media.library.execute("UPDATE atp.media SET pipeline_status = 'queued'")
    before = media.rows()
    assert media.undo(1, write=False).plan.left
    line = told_by(lambda: media.undo(1))
    assert "nothing of correction 1 can be undone" in line
    assert hash_of(5) in line
    assert media.rows() == before


def test_undo_of_a_skip_that_lets_the_downloader_fetch_again_warns(media: Place) -> None:
    media.correct("keep", "tt0000005")
    media.undo(1)
    warnings = media.undo(2, write=False).plan.warnings()
    assert warnings[0].startswith("the downloader may now fetch 1 release of 1 title")


def test_a_correction_of_another_database_or_number_is_not_undone(media: Place) -> None:
    assert "holds no correction 1 (there is none yet)" in told_by(lambda: media.undo(1))
    media.correct("keep", "tt0000005")
    text = media.record.path.read_text()
    assert "no correction 7 (the last is 1)" in told_by(lambda: media.undo(7))
    media.record.path.write_text(text.replace(media.library.database.name, "elsewhere"))
    line = told_by(lambda: media.undo(1))
    assert "made in the database elsewhere" in line
    assert "check PG_DB" in line


def test_a_correction_of_another_layout_is_not_undone(
    media: Place, entry: Callable[..., Any]
) -> None:
    media.correct("keep", "tt0000005")
    media.library.create("training", [entry(5)])
    assert "set ATX_SOURCE=media" in told_by(lambda: media.undo(1))
    owner = {"PG_USER": media.library.database.user, "ATX_CORRECTION_PG_USER": ""}
    assert media.undo(1, ATX_SOURCE="media", **owner).number == 2


# Crashes


def killed_while_correcting(place: Place, bare: dict[str, str], *, committed: bool) -> None:
    """Correct in a process that is killed between the intent and its outcome."""
    code = f"""
import os, signal
from atx_assets.resources import corrections
from atx_assets.settings import read_settings

def die(connection, journal, number):
    {committed} and connection.commit()
    os.kill(os.getpid(), signal.SIGKILL)

corrections._commit = die
corrections.correct(read_settings(), ["tt0000001"], "keep", write=True, via="a test")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=bare | place.environment(), check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert [e["event"] for e in place.events()] == ["intent"]
    assert place.record.entries()[0].outcome == "unknown"


@pytest.mark.slow
def test_a_crash_before_the_commit_leaves_an_intent_that_undo_finds_was_never_done(
    media: Place, bare_environment: dict[str, str]
) -> None:
    before = media.rows()
    killed_while_correcting(media, bare_environment, committed=False)
    assert media.rows() == before
    done = media.undo(1)
    assert (done.number, done.plan.alike, done.plan.rows) == (None, 3, ())
    assert media.correct("keep", "tt0000001").number == 2


@pytest.mark.slow
def test_a_crash_after_the_commit_leaves_an_intent_that_can_be_undone(
    media: Place, bare_environment: dict[str, str]
) -> None:
    before = media.labels()
    killed_while_correcting(media, bare_environment, committed=True)
    assert media.labels() != before
    assert media.undo(1).number == 2
    assert media.labels() == before


def test_the_intent_is_on_the_disk_before_the_commit(
    media: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    commit = corrections._commit

    def looking(connection: psycopg.Connection, journal: Journal, number: int) -> None:
        seen.append((media.events(), media.rows()[hash_of(5)]["rejection_status"]))
        commit(connection, journal, number)

    monkeypatch.setattr(corrections, "_commit", looking)
    media.correct("keep", "tt0000005")
    [(events, status)] = seen
    assert [e["event"] for e in events] == ["intent"]
    assert status == "unfiltered"


def test_a_commit_that_the_database_refuses_is_recorded_as_rolled_back(media: Place) -> None:
    media.library.execute(
        "CREATE FUNCTION atp.late() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not on a Tuesday'; END $$"
    )
    media.library.execute(
        "CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON atp.media DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION atp.late()"
    )
    before = media.rows()
    line = media.refused("keep", "tt0000005")
    assert "not on a Tuesday" in line
    assert "nothing was changed" in line
    assert media.rows() == before
    entry = media.record.entries()[0]
    assert (entry.outcome, entry.why) == ("rolled back", "not on a Tuesday")
    assert "was rolled back (not on a Tuesday)" in told_by(lambda: media.undo(1))


def ended_by_the_server(place: Place, _: psycopg.Connection) -> None:
    place.library.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def cut_in_the_network(_: Place, connection: psycopg.Connection) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("lose", [ended_by_the_server, cut_in_the_network])
def test_a_connection_lost_in_the_commit_is_told_as_not_known(
    media: Place,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[Place, psycopg.Connection], None],
) -> None:
    commit = corrections._commit

    def then_lose(connection: psycopg.Connection, journal: Journal, number: int) -> None:
        lose(media, connection)
        commit(connection, journal, number)

    with monkeypatch.context() as patch:
        patch.setattr(corrections, "_commit", then_lose)
        line = media.refused("keep", "tt0000005")
    assert "it may be in the database or not" in line
    assert "Nothing was changed" not in line
    assert media.record.entries()[0].outcome == "unknown"
    assert media.undo(1).plan.alike == 1


def test_nothing_is_written_if_it_cannot_be_recorded(media: Place) -> None:
    media.home.mkdir()
    (media.home / "corrections.jsonl").mkdir()
    before = media.rows()
    line = media.refused("keep", "tt0000005")
    assert "without its record no label is changed" in line
    assert media.rows() == before


def test_a_disk_that_fills_up_at_the_intent_leaves_the_labels(
    media: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = media.rows()
    with monkeypatch.context() as patch:
        patch.setattr("atx_assets.resources.correction_record.os.fsync", full)
        line = media.refused("keep", "tt0000005")
    assert "No space left on device" in line
    assert media.rows() == before

"""What is recorded of a correction, and its undoing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from atx_assets_tests.builders.corrections import KEPT, Place, hash_of, parts, told_by


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
        f"One (2001), {hash_of(0xA1)}: pipeline_status is 'queued', but 'ingested' was written",
        f"One (2001), {hash_of(0xA2)}: the row is gone",
    ]
    assert f"changed since, and left unchanged: {done.plan.left[0]}" in done.plan.warnings()


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
    assert "has no correction 1 (there is none yet)" in told_by(lambda: media.undo(1))
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


@pytest.fixture
def both_said(place: Place, release: Callable[..., Any]) -> Place:
    """A film that a person kept and later skipped, and one that they skipped; both corrected."""
    one = {"media_title": "One", "imdb_id": "tt0000001"}
    kept = release(0xA1, **one, rejection_status="override", pipeline_status="complete")
    later = kept["updated_at"] + timedelta(days=1)
    place.library.create(
        "media",
        [
            kept,
            release(0xA2, **one, rejection_status="rejected", updated_at=later),
            release(2, rejection_status="rejected"),
        ],
    )
    place.touch_on_update()
    assert place.labels()["tt0000001"] == (False, "human")
    place.correct("keep", "tt0000001", "tt0000002")
    return place


def test_an_undo_that_would_leave_another_label_than_shown_changes_nothing(
    both_said: Place,
) -> None:
    """Kept out: one time for all rows of a transaction, and 'becomes skip' that left keep."""
    both_said.touch_at("now()")
    before, recorded = both_said.rows(), both_said.events()
    (shown, _) = both_said.undo(1, write=False).plan.titles
    assert shown.becomes == "skip (human)"
    assert "all rows the same time" in shown.note
    line = told_by(lambda: both_said.undo(1))
    assert "One (2001) would be keep (human), not skip (human)" in line
    assert "`atx correct skip tt0000001 --write`" in line
    assert "tt0000002" not in line
    assert both_said.rows() == before
    assert both_said.events() == recorded

    # What the line says works, also for the titles that were corrected with it.
    both_said.correct("skip", "tt0000001")
    done = both_said.undo(1)
    assert [t.imdb_id for t in done.plan.titles] == ["tt0000002"]
    assert both_said.labels() == {"tt0000001": (False, "human"), "tt0000002": (False, "human")}


def test_an_undo_of_both_words_goes_through_where_each_row_has_its_time(both_said: Place) -> None:
    assert both_said.undo(1).number == 2
    assert both_said.labels()["tt0000001"] == (False, "human")


def test_a_trigger_that_gives_another_release_a_verdict_fails_the_whole(media: Place) -> None:
    """Kept out: a title told to be a skip that a row beside the written ones keeps."""
    media.library.execute(
        "CREATE FUNCTION atp.contrary() RETURNS trigger LANGUAGE plpgsql"
        " SECURITY DEFINER AS $$ BEGIN INSERT INTO atp.media (hash, media_type,"
        " media_title, release_year, imdb_id, original_title, rejection_status, created_at,"
        " updated_at)"
        f" VALUES ('{hash_of(0xB1)}', 'movie', 'Film 5', 2001, 'tt0000005', 'x', 'override',"
        " now(), now() + interval '1 day'); RETURN NULL; END $$"
    )
    media.library.execute(
        "CREATE TRIGGER contrary AFTER UPDATE ON atp.media"
        f" FOR EACH ROW WHEN (NEW.hash = '{hash_of(5)}') EXECUTE FUNCTION atp.contrary()"
    )
    before = media.rows()
    line = media.refused("skip", "tt0000005")
    assert "Film 5 (2001) would be keep (human), not skip (human)" in line
    assert "a trigger or rule" in line
    assert media.rows() == before


# Crashes

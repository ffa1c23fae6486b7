"""What is recorded of a correction, and its undoing."""

from collections.abc import Callable
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

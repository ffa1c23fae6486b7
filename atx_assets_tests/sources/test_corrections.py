"""A person's verdicts, from ids to rows, on real PostgreSQL in both layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from atx_assets.sources.correct import correction
from atx_assets.sources.correct.correction import check_permission
from atx_assets.sources.layouts import LAYOUTS
from atx_assets.sources.titles import titles
from atx_assets_tests.builders.corrections import KEPT, Place, hash_of, parts, told_by


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


def test_a_title_that_a_person_already_labelled_so_is_not_written_at_all(media: Place) -> None:
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
    # The doctor says so before the first correction.
    assert told_by(lambda: check_permission(place.settings())) == line


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

    monkeypatch.setattr(correction, "plan_correction", write_all_the_same)
    assert "is read-only" in media.refused("keep", "tt0000001", write=False)


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
            "now": "unlabelled",
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
        "1 of 1 ids cannot be used, and nothing was written (set aside: metascore is above "
        "100: 101 (fix it in the database first): tt0000005)"
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


def test_no_id_at_all_is_refused_with_what_the_layout_takes(media: Place) -> None:
    line = media.refused("keep")
    assert line.startswith("no id was given: give IMDb ids ")
    assert "or hashes of releases" in line


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
    from atx_assets.sources.load.load import load_file

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

"""Corrections and everybody else: rights, rows that others hold or change, triggers and rules."""

import threading
from typing import Any

import psycopg
import pytest

from atx_assets.sources.correct import corrections as source_corrections
from atx_assets.sources.correct.correction import check_permission
from atx_assets.sources.correct.corrections import plan_correction
from atx_assets.sources.correct.record import Journal
from atx_assets.sources.layouts import find_source
from atx_assets_tests.builders.corrections import Place, hash_of, told_by

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
    assert f"user {user} may not change 1 of these rows of atp.media" in line
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
    assert "a rule of atp.media refuses the correction" in media.refused(
        "keep", "tt0000001", "tt0000005"
    )
    assert media.rows() == before
    assert media.record.entries() == []


# The record, and undo

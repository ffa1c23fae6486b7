"""A correction that is killed, cut off or not recorded: what is known of it then."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from atx_assets.sources.correct import correction as corrections
from atx_assets.sources.correct.record import Journal
from atx_assets_tests.builders.corrections import Place, hash_of, told_by


def killed_while_correcting(place: Place, bare: dict[str, str], *, committed: bool) -> None:
    """Correct in a process that is killed between the intent and its outcome."""
    code = f"""
import os, signal
from atx_assets.sources.correct import correction as corrections
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
    assert "no label is changed without a record" in line
    assert media.rows() == before


def test_a_disk_that_fills_up_at_the_intent_leaves_the_labels(
    media: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = media.rows()
    with monkeypatch.context() as patch:
        patch.setattr("atx_assets.sources.correct.record.os.fsync", full)
        line = media.refused("keep", "tt0000005")
    assert "the disk is full: make room" in line
    assert media.rows() == before

"""The sensors as state machines: real PostgreSQL, a real instance, real runs of the graph."""

import json
import re
from collections.abc import Callable
from contextlib import contextmanager

import dagster as dg
import pyarrow.compute as pc
import pytest

from atx_assets.automation.dead_runs import fail_dead_runs
from atx_assets.automation.observe import results_of

pytestmark = pytest.mark.slow


def asked(answer) -> dg.RunRequest:
    assert isinstance(answer, dg.RunRequest), answer
    return answer


def actual(living, title):
    """The verdict that the results hold of a title."""
    results = living.place.files.read_table("scored_results")
    return results.filter(pc.equal(results["imdb_id"], title))["actual"].to_pylist()


# -- labels


def test_without_a_change_there_is_nothing_to_do(living):
    assert living.ticks() == "the results are up to date with 750 labels"
    assert living.runs() == []


def test_a_new_label_waits_for_quiet_and_is_in_the_results(living):
    title = living.some_titles(1)[0]
    living.label(title, "override")
    assert "quiet for 0 s of 20" in living.tick()
    living.passes(17)
    assert re.search("quiet for 1[789] s of 20", living.tick())
    living.passes(3)
    request = asked(living.tick())
    assert living.start(request)
    assert actual(living, title) == [True]
    assert living.tick() == "the results are up to date with 750 labels"


def test_a_tick_shortly_before_the_quiet_is_full_waits_for_it_and_looks_again(living):
    """Kept out: each change waited for the round after the quiet, two and a half seconds more."""
    first, second = living.some_titles(2)
    waited = []

    def wait(seconds: float) -> float:
        waited.append(seconds)
        living.now += seconds
        return living.now

    living.label(first, "override")
    living.tick(wait=wait)
    living.now += 14
    assert "quiet for 14 s of 20" in living.tick(wait=wait)
    assert waited == []
    living.now += 3

    def disturbed(seconds: float) -> float:
        living.label(second, "override")
        return wait(seconds)

    assert "quiet for 2 s of 20" in living.tick(wait=disturbed)
    living.now += 15
    request = asked(living.tick(wait=wait))
    assert waited == pytest.approx([3, 3.5], abs=0.2)
    assert living.start(request)
    assert actual(living, second) == [True]


def test_each_label_of_a_burst_begins_the_quiet_anew_but_no_longer_than_the_longest_wait(living):
    titles = living.some_titles(30)
    for title in titles:
        living.label(title, "override")
        answer = living.tick()
        if isinstance(answer, dg.RunRequest):
            break
        living.passes(15)
    assert isinstance(answer, dg.RunRequest)
    # 300 s after the first of them, one every 15 s.
    assert title == titles[20]


def test_a_run_says_which_labels_it_was_for(living):
    first, second, third = living.some_titles(3)
    living.label(first, "override")
    living.label(second, "unfiltered")
    living.connection.execute("DELETE FROM atp.media WHERE imdb_id = %s", (third,))
    assert living.start(asked(living.ticks()))
    tags = living.runs()[0].tags
    assert tags["atx/attempt"] == "1"
    assert tags["atx/why"].startswith("labels differ from the results (750 rows then, 748 now)")
    assert tags["atx/labels"] == "0 added, 1 changed, 2 removed"
    record = living.instance.fetch_materializations(dg.AssetKey("training_table"), 1).records[0]
    told = record.asset_materialization.metadata["changed since the last training"].value
    assert "skip by a rule | keep by a person" in told
    assert "skip by a rule | no label to learn from" in told
    assert "skip by a rule | not among the films" in told


def test_a_run_under_way_is_let_end_and_a_change_during_it_brings_one_more(living):
    first, second = living.some_titles(2)
    living.label(first, "override")
    request = asked(living.ticks())
    answers = []

    def meanwhile(event):
        # Raw data are read: what changes now is not in this run.
        if event.event_type_value == "ASSET_MATERIALIZATION" and not answers:
            living.label(second, "override")
            living.passes(60)
            answers.append(living.tick())

    with each_event(living.instance, meanwhile):
        assert living.start(request)
    assert answers[0].startswith("waiting for run ")
    assert "(refresh)" in answers[0]
    assert actual(living, second) == [False]
    assert living.follows() == "the results are up to date with 750 labels"
    assert actual(living, second) == [True]
    assert len(living.runs()) == 2  # that of the first change, and one more


def test_a_late_commit_is_seen(living):
    """Kept out: a cursor over times would pass by a row written before the run, committed after."""
    early, late = living.some_titles(2)
    with living.place.connect() as open_transaction:
        open_transaction.execute(
            "UPDATE atp.media SET rejection_status = 'override' WHERE imdb_id = %s", (late,)
        )
        living.label(early, "override")
        assert living.follows()
        assert actual(living, early) == [True]
        assert actual(living, late) == [False]
        open_transaction.commit()
    living.follows()
    assert actual(living, late) == [True]


def test_a_deleted_title_leaves_the_results(living):
    title = living.some_titles(1, "override")[0]
    living.connection.execute("DELETE FROM atp.media WHERE imdb_id = %s", (title,))
    assert living.follows() == "the results are up to date with 749 labels"
    assert actual(living, title) == []


def test_a_label_put_back_before_a_run_needs_none(living):
    title = living.some_titles(1)[0]
    reason = living.connection.execute(
        "SELECT rejection_reason FROM atp.media WHERE imdb_id = %s", (title,)
    ).fetchone()[0]
    living.label(title, "override")
    assert "differ" in living.tick()
    living.label(title, "rejected", reason)
    assert living.ticks() == "the results are up to date with 750 labels"
    assert living.runs() == []


def test_labels_put_back_and_forth_run_each_time(living):
    """Kept out: one key for both ways there, and the second change was never learned from."""
    title = living.some_titles(1, "override")[0]
    for runs, (verdict, keep) in enumerate([("rejected", False), ("override", True)] * 2, 1):
        living.label(title, verdict)
        living.follows()
        assert actual(living, title) == [keep]
        assert len(living.runs()) == runs


def test_failed_runs_are_tried_again_after_their_delays_and_then_left(living):
    title = living.some_titles(1)[0]
    living.label(title, "override")
    request = asked(living.tick(ATX_LABEL_QUIET_SECONDS="0"))
    assert not living.start(request, fails=True)
    for attempt, minutes in ((2, 1), (3, 5), (4, 25)):
        living.passes_since_last_run(60 * minutes - 1)
        assert f"attempt {attempt - 1} (run " in living.tick()
        living.passes_since_last_run(60 * minutes + 1)
        request = asked(living.tick())
        assert request.tags["atx/attempt"] == str(attempt)
        assert not living.start(request, fails=True)
    living.passes(100_000)
    assert "no further attempt until something changes, or the nightly run" in living.tick()
    # A run of another's brings the results up to date, whatever the sensor has given up.
    assert living.place.run("refresh", living.instance).success
    assert living.tick() == "the results are up to date with 750 labels"
    assert actual(living, title) == [True]


def test_a_failed_run_is_followed_by_one_that_succeeds(living):
    living.label(living.some_titles(1)[0], "override")
    assert not living.start(asked(living.ticks()), fails=True)
    living.passes(60)
    assert living.follows() == "the results are up to date with 750 labels"


def test_a_run_that_a_check_stopped_is_not_repeated_until_films_change(living):
    living.label(living.some_titles(1)[0], "override")
    living.connection.execute("UPDATE atp.media SET release_year = 9999 WHERE right(hash, 1) < '8'")
    before = living.place.files.path("false_positives").read_bytes()
    assert not living.start(asked(living.ticks()))
    assert living.place.files.path("false_positives").read_bytes() == before
    living.passes(100_000)
    assert "attempt 1 (run " in (answer := living.tick())
    assert "was stopped by a check: no further attempt until something changes" in answer
    living.connection.execute("UPDATE atp.media SET release_year = 1999 WHERE right(hash, 1) < '8'")
    assert living.follows() == "the results are up to date with 750 labels"


def test_a_label_on_a_row_that_is_set_aside_is_waited_for_by_nobody(living):
    """Kept out: a run asked for again and again, since the label never comes into the results."""
    title = living.some_titles(1)[0]
    living.connection.execute(
        "UPDATE atp.media SET release_year = 9999 WHERE imdb_id = %s", (title,)
    )
    living.label(title, "override")
    assert living.follows() == "the results are up to date with 750 labels"
    assert actual(living, title) == []
    assert len(living.runs()) == 1
    living.connection.execute(
        "UPDATE atp.media SET release_year = 1999 WHERE imdb_id = %s", (title,)
    )
    # Its label is back, and learned from at once.
    assert living.follows() == "the results are up to date with 750 labels"
    assert actual(living, title) == [True]
    assert len(living.runs()) == 2


def test_labels_that_only_rules_gave_are_learned_from_once_an_hour(living):
    title, by_person = living.some_titles(2)
    living.label(title, "accepted")
    assert "all of them by rules: learned from at most once in 60 min" in living.ticks()
    living.label(by_person, "override")
    assert living.follows() == "the results are up to date with 750 labels"
    assert actual(living, title) == [True]
    living.label(title, "unfiltered")
    living.passes_since_last_run(3500)
    assert "learned from at most once in 60 min" in living.ticks(seconds=30)
    living.passes_since_last_run(3601)
    assert isinstance(living.ticks(), dg.RunRequest)


def test_a_database_that_is_down_concludes_nothing(living):
    living.label(living.some_titles(1)[0], "override")
    living.tick()
    cursor = living.cursors["label_sensor"]
    answer = living.tick(PG_HOST="127.0.0.1", PG_PORT="9", PG_PASS="a secret")
    assert answer.startswith("nothing concluded for 0 s: cannot connect to ")
    assert "is it up? Check PG_HOST and PG_PORT" in answer
    assert "a secret" not in answer
    assert living.cursors["label_sensor"] == cursor
    assert isinstance(living.ticks(), dg.RunRequest)


def test_a_look_that_takes_too_long_concludes_nothing(living):
    with living.place.connect() as other:
        other.execute("LOCK TABLE atp.media IN ACCESS EXCLUSIVE MODE")
        answer = living.tick(ATX_STATEMENT_TIMEOUT="1")
    assert answer.startswith("nothing concluded: ")
    assert " ended a statement (" in answer
    assert "raise ATX_STATEMENT_TIMEOUT" in answer


def test_settings_that_cannot_be_read_are_named(living):
    answer = living.tick(ATX_LABEL_QUIET_SECONDS="soon")
    assert answer == (
        "nothing concluded: ATX_LABEL_QUIET_SECONDS must be a whole number from 0 to 3600"
    )


@pytest.mark.parametrize("all_of_them", [False, True])
def test_lost_labels_are_refused_told_of_once_and_taken_by_hand(living, all_of_them):
    """Half of them and one, or all."""
    gone = 750 if all_of_them else 376
    living.connection.execute(
        "UPDATE atp.media SET rejection_status = 'unfiltered', rejection_reason = NULL"
        " WHERE hash IN (SELECT hash FROM atp.media WHERE rejection_status <> 'unfiltered'"
        " ORDER BY hash LIMIT %s)",
        (gone,),
    )
    before = living.place.contents()
    for sensor in ("label_sensor", "film_sensor"):
        answer = living.ticks(sensor, seconds=400)
        if sensor == "label_sensor":
            assert f"{gone} of 750 labels are gone at once" in answer
    assert living.place.contents() == before
    alerts = json.loads(living.alerts())
    assert len(alerts) == 1
    assert "labels are gone" in str(alerts)
    # A run that nobody started is stopped, too, should labels go after the sensor has looked.
    stopped = living.place.run("refresh", living.instance, {"dagster/sensor_name": "x"})
    assert not stopped.success
    assert (
        living.place.files.path("scored_results").read_bytes()
        == (before["binomial_classifier_results.parquet"])
    )
    if not all_of_them:
        assert living.place.run("refresh", living.instance).success
        assert living.tick() == "the results are up to date with 374 labels"


def test_a_few_labels_gone_are_learned_from(living):
    living.connection.execute(
        "DELETE FROM atp.media WHERE hash IN (SELECT hash FROM atp.media"
        " WHERE rejection_status = 'rejected' ORDER BY hash LIMIT 300)"
    )
    assert living.follows() == "the results are up to date with 450 labels"


def test_two_daemons_ask_for_the_same_run(living):
    """Their requests carry one key, and Dagster starts one run for it."""
    living.label(living.some_titles(1)[0], "override")
    living.tick()
    living.passes(25)
    cursor = living.cursors["label_sensor"]
    first = asked(living.tick())
    living.cursors["label_sensor"] = cursor
    second = asked(living.tick())
    assert first.run_key == second.run_key
    assert living.start(first)
    living.cursors["label_sensor"] = cursor
    assert living.tick() == "the results are up to date with 750 labels"


def test_a_lost_cursor_loses_no_label(living):
    title = living.some_titles(1)[0]
    living.label(title, "override")
    for _ in range(3):
        assert isinstance(living.tick(), str)
        living.passes(15)
        living.cursors.clear()
    living.follows()
    assert actual(living, title) == [True]


def test_a_run_whose_process_is_gone_is_tried_again(living):
    living.label(living.some_titles(1)[0], "override")
    request = asked(living.ticks())
    run = living.instance.create_run_for_job(
        job_def=build_job(living, "refresh"),
        tags={
            **request.tags,
            "dagster/run_key": request.run_key,
            "dagster/sensor_name": "label_sensor",
        },
    )
    living.instance.report_run_canceling(run)  # under way, as far as Dagster knows
    assert "waiting for run" in living.tick()
    living.instance.report_run_failed(run, "its process is gone")
    living.passes(61)
    request = asked(living.tick())
    assert request.tags["atx/attempt"] == "2"
    assert fail_dead_runs(living.instance) == []


def test_nothing_made_yet_is_said(living):
    with dg.DagsterInstance.ephemeral() as empty:
        assert results_of(empty) is None
        living.instance = empty
        assert "run full_rebuild once" in living.tick()


# -- films


def test_new_films_and_changed_ones_are_scored_and_nothing_is_trained(living):
    living.connection.execute(
        "INSERT INTO atp.media (hash, media_type, media_title, original_title, imdb_id,"
        " release_year, rejection_status, genre) VALUES (repeat('a', 40), 'movie', 'New', 'New',"
        " 'tt9999999', 2001, 'unfiltered', '{Drama}')"
    )
    assert "quiet for 0 s of 20" in living.tick("film_sensor")
    assert living.follows("film_sensor") == "the results are up to date with 1,501 films"
    assert actual(living, "tt9999999") == [None]
    living.connection.execute("UPDATE atp.media SET metascore = 99 WHERE imdb_id = 'tt9999999'")
    assert living.follows("film_sensor") == "the results are up to date with 1,501 films"
    assert [len(living.runs(job)) for job in ("score", "refresh")] == [2, 0]
    assert living.tick() == "the results are up to date with 750 labels"


def test_a_scoring_run_that_read_new_labels_does_not_keep_them_from_being_learned(living):
    """Kept out: its lists carry the new labels, which the model has not seen."""
    title = living.some_titles(1)[0]
    living.label(title, "override")
    assert living.place.run("score", living.instance).success
    assert actual(living, title) == [True]
    assert isinstance(living.ticks(), dg.RunRequest)


def test_films_are_left_to_the_refresh_of_a_persons_labels(living):
    first, second = living.some_titles(2)
    living.connection.execute("UPDATE atp.media SET metascore = 1 WHERE imdb_id = %s", (first,))
    living.label(second, "override")
    assert "their refresh also reads the films" in living.ticks("film_sensor", seconds=30)
    living.follows()
    assert living.tick("film_sensor") == "the results are up to date with 1,500 films"
    assert len(living.runs("score")) == 0


def test_an_update_that_changes_nothing_asks_for_nothing(living):
    living.connection.execute("UPDATE atp.media SET uploader = 'x', media_title = media_title")
    for sensor in ("label_sensor", "film_sensor"):
        assert living.ticks(sensor).startswith("the results are up to date")


def test_truncated_and_filled_again_with_the_same_rows_asks_for_nothing(living):
    """Kept out: counters of PostgreSQL, which know neither TRUNCATE nor that it was mended."""
    living.connection.execute("CREATE TABLE kept AS TABLE atp.media; TRUNCATE atp.media")
    assert "are gone at once" in living.tick()
    living.connection.execute("INSERT INTO atp.media SELECT * FROM kept ORDER BY hash DESC")
    for sensor in ("label_sensor", "film_sensor"):
        assert living.ticks(sensor).startswith("the results are up to date")


def build_job(living, name):
    from atx_assets.definitions import build_defs

    with living.place.environment():
        return build_defs().resolve_job_def(name)


@contextmanager
def each_event(instance: dg.DagsterInstance, act: Callable[[dg.DagsterEvent], None]):
    """Call a function with each event that a run of this process stores."""
    storage = instance.event_log_storage
    store = storage.store_event

    def stored(entry: dg.EventLogEntry) -> None:
        store(entry)
        if entry.dagster_event:
            act(entry.dagster_event)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "store_event", stored)
        yield

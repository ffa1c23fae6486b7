"""Decisions as functions of what was seen: each case with its time, and whole histories."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atx_assets.automation.decide import (
    CANCELED,
    FAILED,
    RETRY_MINUTES,
    STOPPED,
    SUCCEEDED,
    Attempt,
    Request,
    Results,
    Seen,
    State,
    decide_films,
    decide_labels,
    decide_nightly,
)
from atx_assets.automation.held import Held
from atx_assets.automation.losses import GONE, LOST, lost_rows
from atx_assets.settings import read_settings
from atx_assets.sources.read.fingerprints import Fingerprints
from atx_assets_tests.builders.scale import times

RULES = read_settings({}).automation
NOW = 1_000_000.0
A, B, C = "100-aa", "101-bb", "102-cc"
HUMAN_A, HUMAN_B = "10-aa", "11-bb"
FILMS, OTHER_FILMS = "500-ff", "501-ee"


def made_from(labels=A, human=HUMAN_A, media=FILMS, **known):
    values = {"latest": 7, "made_by": "run-7", "trained_at": NOW - 10_000}
    one = {"labels": labels, "human_labels": human, "media": media}
    sets = {k: v if isinstance(v, frozenset) else frozenset([v]) for k, v in one.items()}
    return Results(**sets, **(values | known))


def state(labels=B, human=HUMAN_B, media=FILMS, **known):
    """Labels B in the database, results of labels A, nothing under way, long quiet."""
    values = {
        "now": NOW,
        "results": made_from(),
        "in_flight": [],
        "attempts": [],
        "seen": Seen(labels, NOW - 1000, NOW - 50, NOW - 5),
    }
    values |= known
    results = values["results"]
    held = Held(results.labels, results.media) if results else Held()
    return State(database=Fingerprints(labels, human, media), **({"held": held} | values))


def attempt(outcome=FAILED, minutes_ago=0.0, wanted=B, gone_from=A, films=FILMS, run_id="run-8"):
    return Attempt(run_id, Request(gone_from, 7, wanted, films, 1), outcome, NOW - 60 * minutes_ago)


def labels(*, rules=RULES, **known):
    return decide_labels(state(**known), rules)


class TestLabels:
    def test_changed_labels_that_are_quiet_are_asked_for(self):
        decision = labels()
        assert decision.request is not None
        assert decision.request.run_key == f"{A}@7>{B}&{FILMS}#1"
        assert decision.reason == (
            "labels differ from the results (100 rows then, 101 now), by a person too (10 then, "
            "11 now)"
        )

    def test_labels_as_in_the_results_need_nothing(self):
        decision = labels(labels=A, human=HUMAN_A)
        assert decision.request is None
        assert decision.reason == "the results are up to date with 100 labels"
        assert decision.seen.differs_since == 0

    def test_without_results_a_first_run_is_left_to_a_person_or_the_night(self):
        decision = labels(results=None)
        assert decision.request is None
        assert "run full_rebuild once" in decision.reason

    def test_results_that_disagree_among_themselves_are_made_anew(self):
        """Kept out: lists with the new labels beside a model that did not learn from them."""
        decision = labels(results=made_from(labels=frozenset([A, B])))
        assert decision.request is not None
        assert decision.request.gone_from == A

    def test_results_of_an_unknown_state_are_made_anew(self):
        assert labels(results=made_from(labels=frozenset(["", B]))).request is not None

    def test_new_labels_wait_until_they_are_quiet(self):
        for quiet, asked in ((0, False), (19, False), (20, True)):
            decision = labels(seen=Seen(B, NOW - quiet, NOW - 30, NOW - 5))
            assert (decision.request is not None) == asked, quiet
        assert "quiet for 0 s of 20" in labels(seen=Seen(B, NOW, NOW - 30, NOW - 5)).reason

    def test_labels_that_never_become_quiet_wait_no_longer_than_the_longest_wait(self):
        for waited, asked in ((299, False), (300, True)):
            decision = labels(seen=Seen(B, NOW, NOW - waited, NOW - 5))
            assert (decision.request is not None) == asked, waited

    def test_the_longest_wait_begins_anew_when_a_run_was_asked_for(self):
        decision = labels(seen=Seen(B, NOW, NOW - 300, NOW - 5))
        assert decision.seen.differs_since == NOW

    def test_a_lost_cursor_costs_a_wait_and_nothing_else(self):
        decision = labels(seen=Seen())
        assert decision.request is None
        later = decide_labels(replace(state(seen=decision.seen), now=NOW + 20), RULES)
        assert later.request is not None

    def test_a_change_is_taken_to_have_come_midway_between_two_looks(self):
        assert Seen(A, 0, 0, NOW - 6).at(B, NOW, differs=True).since == NOW - 3
        assert Seen(A, 0, 0, NOW - 600).at(B, NOW, differs=True).since == NOW
        assert Seen(B, NOW - 77, 0, NOW - 6).at(B, NOW, differs=True).since == NOW - 77

    def test_a_run_under_way_is_let_end(self):
        decision = labels(in_flight=["run 12345678 (refresh)", "run 9 (score)"])
        assert decision.request is None
        assert decision.reason == "waiting for run 12345678 (refresh) and 1 more to end"


class TestRuleLabels:
    def test_labels_that_rules_gave_are_learned_from_once_an_hour(self):
        for trained, asked in ((3599, False), (3600, True)):
            results = made_from(trained_at=NOW - trained)
            assert (labels(human=HUMAN_A, results=results).request is not None) == asked
        decision = labels(human=HUMAN_A, results=made_from(trained_at=NOW - 600))
        assert decision.reason == (
            "labels differ from the results (100 rows then, 101 now), all of them by rules: "
            "learned from at most once in 60 min, next in 50 min (ATX_RULE_LABEL_INTERVAL)"
        )

    def test_a_persons_label_among_them_does_not_wait(self):
        assert labels(results=made_from(trained_at=NOW - 60)).request is not None

    def test_lists_made_since_do_not_hide_what_the_model_has_not_learned(self):
        """Kept out: after a scoring run, a person's labels were taken for those of rules."""
        results = made_from(
            labels=frozenset([A, B]), human=frozenset([HUMAN_A, HUMAN_B]), trained_at=NOW - 60
        )
        assert labels(results=results).request is not None


class TestClockSetBack:
    """Kept out: what was seen or tried at a time still to come holds everything up until then."""

    BACK = NOW - 3600

    def test_labels_seen_before_wait_for_quiet_and_no_longer(self):
        decision = labels(now=self.BACK, seen=Seen(B, NOW - 1, NOW - 30, NOW - 1))
        assert "quiet for 0 s of 20 (waiting for 0 s" in decision.reason
        later = labels(now=self.BACK + 20, seen=decision.seen)
        assert later.request is not None

    def test_labels_that_come_after_it_are_asked_for(self):
        seen = labels(labels=A, human=HUMAN_A, now=self.BACK, seen=Seen(A, 0, 0, NOW)).seen
        changed = labels(now=self.BACK + 5, seen=seen)
        assert changed.request is None
        assert labels(now=self.BACK + 25, seen=changed.seen).request is not None

    def test_a_failed_run_is_tried_again_and_no_more_often_than_else(self):
        quiet = Seen(B, self.BACK - 1000, self.BACK - 50, self.BACK - 5)
        for number in range(1, len(RETRY_MINUTES) + 1):
            tried = [attempt()] * number
            assert labels(now=self.BACK, seen=quiet, attempts=tried).request is not None
        tried = [attempt()] * (len(RETRY_MINUTES) + 1)
        assert labels(now=self.BACK, seen=quiet, attempts=tried).request is None

    def test_labels_by_rules_alone_are_learned_from(self):
        trained = made_from(trained_at=NOW)
        seen = Seen(B, self.BACK - 1000, self.BACK - 50, self.BACK - 5)
        decision = labels(now=self.BACK, human=HUMAN_A, results=trained, seen=seen)
        assert decision.request is not None


class TestAttempts:
    @pytest.mark.parametrize("failed", range(1, len(RETRY_MINUTES) + 1))
    def test_a_failed_run_is_tried_again_after_its_delay(self, failed):
        minutes = RETRY_MINUTES[failed - 1]
        for ago, asked in ((minutes - 0.1, False), (minutes, True)):
            tried = [attempt(minutes_ago=ago + 60 * n) for n in range(failed)]
            request = labels(attempts=tried).request
            assert (request is not None) == asked
            if request:
                assert request.attempt == failed + 1
                assert request.run_key == f"{A}@7>{B}&{FILMS}#{failed + 1}"

    def test_after_the_last_attempt_it_is_left(self):
        decision = labels(attempts=[attempt(minutes_ago=10_000)] * 4)
        assert decision.request is None
        assert (
            "attempt 4 (run run-8) failed: no further attempt until something changes"
            in decision.reason
        )

    def test_other_labels_are_a_new_state_and_begin_at_one(self):
        request = labels(labels=C, attempts=[attempt()] * 4, seen=Seen(C, 0, 0, NOW)).request
        assert request is not None
        assert request.attempt == 1

    def test_changed_films_give_a_state_that_was_left_another_attempt(self):
        for ago, asked in ((4.9, False), (5, True)):
            tried = [attempt(minutes_ago=ago)] * 4
            request = labels(media=OTHER_FILMS, attempts=tried).request
            assert (request is not None) == asked
            assert request is None or request.attempt == 5

    def test_a_run_that_a_check_stopped_is_not_repeated_until_the_films_change(self):
        for outcome in (STOPPED, CANCELED):
            tried = [attempt(outcome, minutes_ago=10_000)]
            assert labels(attempts=tried).request is None
            assert labels(attempts=tried, media=OTHER_FILMS).request is not None
        assert "stopped by a check" in labels(attempts=[attempt(STOPPED)]).reason
        assert "canceled by hand" in labels(attempts=[attempt(CANCELED)]).reason

    def test_labels_put_back_and_forth_still_run(self):
        """Kept out: a key of two states alone, which the second A to B shares with the first."""
        there_and_back = [
            attempt(SUCCEEDED, 10, wanted=A, gone_from=B, run_id="run-2"),
            attempt(SUCCEEDED, 20, wanted=B, gone_from=A, run_id="run-1"),
        ]
        first = labels(results=made_from(latest=1)).request
        second = labels(
            results=made_from(latest=3, made_by="run-2"), attempts=there_and_back
        ).request
        assert first
        assert second
        assert first.run_key != second.run_key
        assert second.attempt == 1

    def test_labels_that_failed_before_others_failed_are_asked_for_by_another_key(self):
        """Kept out: B failed, then C, and B's old key, which Dagster starts no more, stuck."""
        tried = [attempt(wanted=C, minutes_ago=10), attempt(wanted=B, minutes_ago=20)]
        request = labels(attempts=tried).request
        assert request
        assert request.run_key != tried[1].request.run_key
        assert request.attempt == 2

    def test_a_run_that_read_other_labels_than_were_wanted_is_no_failed_attempt(self):
        """Labels went from A to B, a run was asked for, read C, and they are back at B."""
        tried = [attempt(SUCCEEDED, minutes_ago=0.1, wanted=B, gone_from=A)]
        request = labels(results=made_from(labels=C, made_by="run-8"), attempts=tried).request
        assert request is not None
        assert request.attempt == 1

    def test_runs_that_end_well_and_change_nothing_do_not_go_on_for_ever(self):
        """Kept out: an upgraded run that reads other fingerprints than the sensor that asks."""
        tried = [attempt(SUCCEEDED, minutes_ago=0.5)]
        assert labels(results=made_from(made_by="run-8"), attempts=tried).request is None
        tried = [attempt(SUCCEEDED, minutes_ago=10_000)] * 4
        assert labels(results=made_from(made_by="run-8"), attempts=tried).request is None

    def test_a_run_by_hand_back_to_old_labels_does_not_count_as_an_attempt(self):
        tried = [attempt(SUCCEEDED, minutes_ago=0.1)]
        request = labels(results=made_from(made_by="by hand", latest=8), attempts=tried).request
        assert request is not None
        assert request.attempt == 1


class TestLostLabels:
    @pytest.mark.parametrize(
        ("before", "now", "limit", "lost"),
        [
            ("100-a", "50-b", 0.5, ""),
            ("100-a", "49-b", 0.5, "51 of 100 labels are gone at once"),
            ("100-a", "0-b", 1.0, "100 of 100 labels are gone at once"),
            ("100-a", "1-b", 1.0, ""),
            ("0-a", "0-b", 0.5, ""),
            ("", "0-b", 0.5, ""),
            ("100-a+2-c", "30-b", 0.5, "70 of 100 labels are gone at once"),
        ],
    )
    def test_more_than_the_limit_gone_is_lost(self, before, now, limit, lost):
        assert lost_rows("labels", frozenset([before]), now, limit) == lost

    def test_nothing_is_rebuilt_from_lost_labels(self):
        for decide in (decide_labels, decide_films):
            decision = decide(state(labels="40-dd", media=OTHER_FILMS), RULES)
            assert decision.refused
            assert decision.request is None
            assert "60 of 100 labels are gone at once" in decision.reason
            assert "materialise full_rebuild by hand" in decision.reason

    def test_both_sensors_refuse_what_either_finds_lost(self):
        """Kept out: one took the alert back that the other had raised, and so on for ever."""
        for lost in ({"labels": "40-dd"}, {"media": "200-dd"}):
            found = {"labels": A, "human": HUMAN_A, **lost}
            for decide in (decide_labels, decide_films):
                assert decide(state(**found), RULES).refused, (lost, decide)

    @pytest.mark.parametrize("decide", [decide_labels, decide_films])
    @pytest.mark.parametrize(
        ("held", "refused", "says"),
        [
            (Held(frozenset([A]), frozenset([FILMS])), LOST, "60 of 100 labels are gone at once: "),
            (Held(frozenset(["100-"])), LOST, "60 of 100 labels are gone at once: "),
            (Held(unknown=True), LOST, "no record and no file says how many labels there were: "),
            (
                Held(gone="the data are gone from /d: mount"),
                GONE,
                "the data are gone from /d: moun",
            ),
            (Held(frozenset(["50-a"])), "", "Dagster has no record of some of the results: run"),
            (Held(), "", "there are no results yet: run full_rebuild"),
        ],
    )
    def test_a_missing_record_is_no_first_run(self, decide, held, refused, says):
        """Kept out: one wiped asset switched the guard off, and an empty folder seemed new."""
        decision = decide(state(labels="40-dd", results=None, held=held), RULES)
        assert decision.request is None
        assert decision.refused == refused
        assert decision.reason.startswith(says)

    def test_nothing_is_scored_from_lost_films(self):
        decision = decide_films(state(media="200-dd"), RULES)
        assert decision.refused
        assert "300 of 500 films are gone at once" in decision.reason


class TestFilms:
    def films(self, labels=A, human=HUMAN_A, media=OTHER_FILMS, **known):
        seen = known.pop("seen", Seen(media, NOW - 1000, NOW - 50, NOW - 5))
        return decide_films(
            state(labels=labels, human=human, media=media, seen=seen, **known), RULES
        )

    def test_changed_films_are_scored(self):
        request = self.films().request
        assert request is not None
        assert request.run_key == f"{FILMS}@7>{OTHER_FILMS}&{OTHER_FILMS}#1"

    def test_films_as_in_the_results_need_nothing(self):
        assert self.films(media=FILMS).reason == "the results are up to date with 500 films"

    def test_films_wait_for_the_refresh_of_a_persons_labels(self):
        decision = self.films(labels=B, human=HUMAN_B)
        assert decision.request is None
        assert "their refresh also reads the films" in decision.reason

    def test_they_do_not_wait_for_it_for_ever(self):
        seen = Seen(OTHER_FILMS, NOW - 1000, NOW - 300, NOW - 5)
        assert self.films(labels=B, human=HUMAN_B, seen=seen).request is not None

    def test_labels_by_rules_that_come_with_new_films_do_not_hold_them_up(self):
        """Kept out: a downloader judges each film it adds, and films would wait for the hour."""
        soon = made_from(trained_at=NOW - 60)
        assert self.films(labels=B, results=soon).request is not None
        due = made_from(trained_at=NOW - 3600)
        assert self.films(labels=B, results=due).request is None

    def test_only_its_own_attempts_count(self):
        tried = [attempt(wanted=OTHER_FILMS, films=OTHER_FILMS)]
        assert self.films(attempts=tried).request is None
        assert "failed, the next in 60 s" in self.films(attempts=tried).reason


class TestNight:
    SAME = ("l", "m", "r")

    def test_nothing_new_trains_nothing(self):
        train, why = decide_nightly(self.SAME, self.SAME, self.SAME, always=False)
        assert not train
        assert "no search and no training" in why

    @pytest.mark.parametrize(
        ("searched", "trained", "why"),
        [
            ((), (), "there is no record of an earlier search and training"),
            (("x", "m", "r"), SAME, "labels changed since the last search and training"),
            (SAME, ("l", "x", "r"), "films changed since the last search and training"),
            (SAME, ("l", "x", "y"), "films, code or settings changed since the last search and"),
            (("", "", ""), SAME, "labels, films, code or settings changed"),
        ],
    )
    def test_what_changed_is_named(self, searched, trained, why):
        train, told = decide_nightly(self.SAME, searched, trained, always=False)
        assert train
        assert told.startswith(why)

    def test_always_is_always(self):
        assert decide_nightly(self.SAME, self.SAME, self.SAME, always=True)[0]


@pytest.mark.parametrize("labels", [A, "100-aa+2-bb", ""])
def test_a_request_can_be_read_from_its_key(labels):
    request = Request(labels, 12, B, FILMS, 3)
    assert Request.from_key(request.run_key) == request
    assert Request.from_key("another's") is None


def test_a_cursor_of_another_version_counts_as_none():
    for cursor in (None, "", "7", "[]", '{"other": 1}', "torn {"):
        assert Seen.from_cursor(cursor) == Seen()
    seen = Seen(A, 1.5, 2.5, 3.5)
    assert Seen.from_cursor(seen.cursor()) == seen


class Histories(RuleBasedStateMachine):
    """Any history of edits, failures, lost cursors, runs by hand and ticks ends in agreement.

    Time and Dagster are simulated here; `test_histories.py` does the same with real ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.database = 0
        self.results = made_from(labels="100-0", human="10-0")
        self.attempts: list[Attempt] = []
        self.seen = Seen()
        self.run: tuple[int, object] | None = None
        self.keys: set[str] = set()
        self.runs = self.quiet_periods = self.overdue = 0
        self.changed_since_request = True

    def _labels(self, number: int) -> str:
        return f"{100 + number % 5}-{number}"

    def _made(self, number: int, run_id: str, at: float) -> Results:
        return made_from(
            labels=self._labels(number),
            human=f"10-{number}",
            latest=self.results.latest + 1,
            made_by=run_id,
            trained_at=at,
        )

    @rule(number=st.integers(0, 4))
    def edit(self, number):
        self.database = number

    @rule(seconds=st.integers(1, 400))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def tick(self):
        number = self.database
        decision = decide_labels(
            State(
                self.now,
                Fingerprints(self._labels(number), f"10-{number}", FILMS),
                self.results,
                ["run (refresh)"] if self.run else [],
                self.attempts,
                self.seen,
                Held(self.results.labels, self.results.media),
            ),
            RULES,
        )
        self.seen = decision.seen
        if decision.request is None:
            return
        assert self.run is None
        assert decision.request.run_key not in self.keys, "Dagster would not start it"
        self.keys.add(decision.request.run_key)
        self.runs += 1
        self.run = (number, decision.request)

    @precondition(lambda self: self.run)
    @rule(outcome=st.sampled_from([SUCCEEDED, SUCCEEDED, FAILED, STOPPED, CANCELED]))
    def run_ends(self, outcome):
        """It reads the labels at its end, which may be others than it was asked for."""
        _, request = self.run
        run_id = f"run-{self.runs}"
        self.attempts.insert(
            0,
            Attempt(run_id, request, outcome, self.now),
        )
        if outcome == SUCCEEDED:
            self.results = self._made(self.database, run_id, self.now)
        self.run = None

    @rule()
    def cursor_is_lost(self):
        self.seen = Seen()

    @precondition(lambda self: not self.run)
    @rule()
    def run_by_hand(self):
        self.results = self._made(self.database, f"hand-{self.now}", self.now)

    @invariant()
    def a_state_is_not_tried_more_often_than_it_may_be(self):
        streak = 0
        for tried in self.attempts:
            if (
                tried.request.wanted != self.attempts[0].request.wanted
                or tried.outcome == SUCCEEDED
            ):
                break
            streak += 1
        assert streak <= len(RETRY_MINUTES) + 1

    def teardown(self):
        """After quiet, and while runs succeed, results agree with the database."""
        if self.run:
            self.run_ends(SUCCEEDED)
        self.edit(self.database + 5)  # a state that has not been given up
        runs = self.runs
        for _ in range(12):
            self.tick()
            if self.run:
                self.run_ends(SUCCEEDED)
            self.now += 5
        assert self.results.labels == {self._labels(self.database)}
        assert self.runs <= runs + 1


Histories.TestCase.settings = hypothesis_settings(
    max_examples=times(200, 20_000), stateful_step_count=40, deadline=None
)
TestHistories = Histories.TestCase


@hypothesis_settings(max_examples=times(200, 5_000), deadline=None)
@given(
    cursor=st.text()
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["wanted", "since", "differs_since", "looked", "x"]), inner
            )
        ),
        max_leaves=6,
    ).map(json.dumps)
)
def test_whatever_stands_in_a_cursor_costs_a_wait_and_nothing_else(cursor):
    """Kept out: a sensor that fails at every tick for a cursor that it cannot read."""
    seen = Seen.from_cursor(cursor)
    decision = decide_labels(state(seen=seen), RULES)
    assert Seen.from_cursor(decision.seen.cursor()) == decision.seen
    for _ in range(2):
        if decision.request is None:
            later = NOW + RULES.label_max_wait_seconds + RULES.label_quiet_seconds
            decision = decide_labels(replace(state(seen=decision.seen), now=later), RULES)
    assert decision.request is not None


def test_a_cursor_nested_without_end_counts_as_none():
    assert Seen.from_cursor("[" * 100_000) == Seen()
    assert Seen.from_cursor('{"since": "yesterday"}') == Seen()
    assert Seen.from_cursor('{"since": 1e999, "looked": NaN}') == Seen()
    assert Seen.from_cursor('{"since": ' + "9" * 5000 + "}") == Seen()


@hypothesis_settings(max_examples=times(200, 5_000), deadline=None)
@given(key=st.text() | st.from_regex("(.*)@([0-9]+)>(.*)&(.*)#([0-9]+)", fullmatch=True))
def test_any_run_key_is_a_request_or_none(key):
    found = Request.from_key(key)
    assert found is None or Request.from_key(found.run_key) == found

"""Decides what to do about labels and films that differ from the results.

Each decision is a pure function of what was observed (`observe.py`); time is an argument. Not here:
reading the database or Dagster's records, asking for a run (`defs/sensors.py`,
`defs/schedules.py`).

The decisions are level-triggered: they compare the current state of the database with the state
that the results were made from. No single change is remembered, so none can be lost.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from atx_assets.automation.losses import GONE, LOST, count_of, gone_at_once

if TYPE_CHECKING:
    from atx_assets.automation.held import Held
    from atx_assets.settings import Automation
    from atx_assets.sources.read.fingerprints import Fingerprints

#: Minutes from a failed run to the next attempt at the same state.
RETRY_MINUTES = (1, 5, 25)
LAST_ATTEMPT = len(RETRY_MINUTES) + 1
#: Minutes from a run that is not repeated to another attempt, if the films have changed since: what
#: was wrong with them may be fixed.
RETRY_CHANGED_MINUTES = 5

FAILED, STOPPED, CANCELED, SUCCEEDED = "failed", "stopped", "canceled", "succeeded"


@dataclass(frozen=True)
class Results:
    """What the results were made from: the fingerprints, and the run that made the latest result.

    Results that agree hold one fingerprint of each kind. Several mean that a run ended between two
    results, and an empty one that it is unknown.

    Attributes:
        labels: of the labels that the model learned from, and of those that the lists show.
        human_labels: the same for labels given by a person.
        media: of the films that the lists were made from.
        latest: number of their latest record; it changes with each materialisation.
        made_by: the id of the run that made the latest.
        trained_at: seconds since 1970.
    """

    labels: frozenset[str]
    human_labels: frozenset[str]
    media: frozenset[str]
    latest: int
    made_by: str
    trained_at: float


@dataclass(frozen=True)
class Seen:
    """What earlier looks saw. If it is lost, that only costs another wait for quiet.

    Attributes:
        wanted: the fingerprint seen at the last look.
        since: when it appeared, taken as midway between two looks.
        differs_since: when the results began to differ, or a run was last asked for; 0: they agree.
        looked: time of the last look.
    """

    wanted: str = ""
    since: float = 0.0
    differs_since: float = 0.0
    looked: float = 0.0

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Seen:
        """Parse what `cursor` wrote; a cursor of another version, or an invalid one, is ignored."""
        try:
            seen = cls(**json.loads(cursor or "{}"))
        except (TypeError, ValueError, RecursionError):
            return cls()
        times = (seen.since, seen.differs_since, seen.looked)
        known = all(type(time) in (int, float) and math.isfinite(time) for time in times)
        return seen if known and isinstance(seen.wanted, str) else cls()

    def cursor(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    def at(self, wanted: str, now: float, *, differs: bool) -> Seen:
        """Return what has been seen after a look at `now`."""
        # If the clock was set back, it must not wait until the old time comes again.
        since, looked = min(self.since, now), min(self.looked, now)
        if wanted != self.wanted:
            # A look long ago does not tell when the change came.
            since = (looked + now) / 2 if now - looked < _LOOK_FRESH else now
        differs_since = min(self.differs_since or now, now) if differs else 0.0
        return Seen(wanted, since, differs_since, now)


_LOOK_FRESH = 60.0
#: A record from more than this many seconds after now means that the clock was set back since.
_SET_BACK = 60.0


def _ago(at: float, now: float) -> float:
    """Return the seconds since `at`; infinity if the clock was set back since."""
    return math.inf if now < at - _SET_BACK else now - at


@dataclass(frozen=True)
class Request:
    """A run to ask for: from which state and record, to which state, at which attempt.

    Dagster starts only one run per key. A key of the states alone would fail when labels are
    changed back and forth a second time; the number of the record (`latest`) makes each key unique.
    `attempt` counts the attempts at this change, even if another one was tried in between.
    """

    gone_from: str
    latest: int
    wanted: str
    films: str
    attempt: int

    @property
    def run_key(self) -> str:
        """The key by which Dagster knows the run."""
        return f"{self.gone_from}@{self.latest}>{self.wanted}&{self.films}#{self.attempt}"

    @classmethod
    def from_key(cls, run_key: str) -> Request | None:
        """Parse a key; return None if it is not one of ours."""
        if not (match := _KEY.fullmatch(run_key)):
            return None
        gone_from, latest, wanted, films, attempt = match.groups()
        return cls(gone_from, int(latest), wanted, films, int(attempt))


_KEY = re.compile("(.*)@([0-9]+)>(.*)&(.*)#([0-9]+)")


@dataclass(frozen=True)
class Attempt:
    """A run that a sensor asked for and that has ended.

    `outcome` is FAILED, STOPPED (a blocking check failed), CANCELED (by a person) or SUCCEEDED.
    """

    run_id: str
    request: Request
    outcome: str
    ended: float


@dataclass(frozen=True)
class State:
    """Everything that a decision is made from; `attempts` has the newest first.

    `results` is None if the record of one result is missing; `held` is what is still known about
    the earlier labels and films.
    """

    now: float
    database: Fingerprints
    results: Results | None
    in_flight: Sequence[str]
    attempts: Sequence[Attempt]
    seen: Seen
    held: Held


@dataclass(frozen=True)
class Decision:
    """What to do, and the reason in words with numbers.

    `request` is None if there is nothing to do yet; `refused` is LOST or GONE if a person has to
    act, else empty. `again_in` is the missing seconds of quiet, 0 if it waits for something else.
    """

    reason: str
    seen: Seen
    request: Request | None = None
    refused: str = ""
    again_in: float = 0.0


NOTHING_MADE = (
    "there are no results yet: run full_rebuild once (in the UI, or `atx run`), or wait for the "
    "nightly run"
)


NOT_RECORDED = (
    "Dagster has no record of some of the results: run full_rebuild once (in the UI, or `atx "
    "run`), or wait for the nightly run"
)


def decide_labels(state: State, rules: Automation) -> Decision:
    """Decide whether to learn from the labels again: the job `refresh`."""
    results, database = state.results, state.database
    agree = results is not None and results.labels == {database.labels}
    seen = state.seen.at(database.labels, state.now, differs=not agree)
    if refused := _refusal(state, rules, seen):
        return refused
    if results is None:
        return Decision(NOT_RECORDED if state.held.labels else NOTHING_MADE, seen)
    held = f"{count_of(database.labels):,} labels"
    if nothing := _nothing_to_do(state, seen, held):
        return nothing
    what = _difference("labels", results.labels, database.labels)
    if results.human_labels == {database.human_labels}:
        what += ", all of them by rules"
        wait = rules.rule_label_interval - _ago(results.trained_at, state.now)
        if wait > 0:
            return Decision(
                f"{what}: learned from at most once in {span(rules.rule_label_interval)}, "
                f"next in {span(wait)} (ATX_RULE_LABEL_INTERVAL)",
                seen,
            )
    else:
        what += _people(results.human_labels, database.human_labels)
    return _ask(state, rules, seen, what, database.labels, results.labels)


def decide_films(state: State, rules: Automation) -> Decision:
    """Decide whether to score the films again, without learning: the job `score`."""
    results, database = state.results, state.database
    agree = results is not None and results.media == {database.media}
    seen = state.seen.at(database.media, state.now, differs=not agree)
    if refused := _refusal(state, rules, seen):
        return refused
    if results is None:
        return Decision(NOT_RECORDED if state.held.labels else NOTHING_MADE, seen)
    held = f"{count_of(database.media):,} films"
    if nothing := _nothing_to_do(state, seen, held):
        return nothing
    what = _difference("films", results.media, database.media)
    patience = seen.differs_since + rules.label_max_wait_seconds - state.now
    if _refresh_is_near(state, rules) and patience > 0:
        return Decision(
            f"{what}; labels differ, too, and their refresh also reads the films: waiting for it "
            f"up to {span(patience)}",
            seen,
        )
    return _ask(state, rules, seen, what, database.media, results.media)


def _refusal(state: State, rules: Automation, seen: Seen) -> Decision | None:
    """Return the refusal that both sensors share, before anything else is decided.

    If one of them did not refuse, it would clear the alert that the other raises, again and again.
    """
    if state.held.gone:
        return Decision(state.held.gone, seen, refused=GONE)
    if lost := gone_at_once(state.held, state.database, rules):
        return Decision(lost, seen, refused=LOST)
    return None


def _nothing_to_do(state: State, seen: Seen, held: str) -> Decision | None:
    """Return why there is nothing to do, if so; in the same order for both sensors."""
    if not seen.differs_since:
        return Decision(f"the results are up to date with {held}", seen)
    if state.in_flight:
        others = f" and {len(state.in_flight) - 1} more" if len(state.in_flight) > 1 else ""
        return Decision(f"waiting for {state.in_flight[0]}{others} to end", seen)
    return None


def _refresh_is_near(state: State, rules: Automation) -> bool:
    results, database = state.results, state.database
    if results is None or results.labels == {database.labels}:
        return False
    by_person = results.human_labels != {database.human_labels}
    return by_person or _ago(results.trained_at, state.now) >= rules.rule_label_interval


def _ask(
    state: State, rules: Automation, seen: Seen, what: str, wanted: str, have: frozenset[str]
) -> Decision:
    """Ask for a run once it is quiet, or once a failed attempt may be repeated."""
    results = state.results
    assert results is not None  # noqa: S101  (otherwise both callers have returned)
    tried = _tried(state.attempts, wanted, have, results.made_by)
    if tried and (wait := _before_next(tried, state)):
        return Decision(f"{what}; {wait}", seen)
    quiet, waited = state.now - seen.since, state.now - seen.differs_since
    if quiet < rules.label_quiet_seconds and waited < rules.label_max_wait_seconds:
        return Decision(
            f"{what}; quiet for {quiet:.0f} s of {rules.label_quiet_seconds} "
            f"(waiting for {waited:.0f} s of at most {rules.label_max_wait_seconds})",
            seen,
            again_in=min(rules.label_quiet_seconds - quiet, rules.label_max_wait_seconds - waited),
        )
    request = Request(min(have - {wanted}), results.latest, wanted, state.database.media, 0)
    # Count attempts with the same key, even if another state was tried in between: Dagster starts
    # no key twice.
    numbers = [
        a.request.attempt for a in state.attempts if replace(a.request, attempt=0) == request
    ]
    request = replace(request, attempt=max([len(tried), *numbers]) + 1)
    # The longest wait starts again: changes during the run wait for the next one.
    reason = what + (f"; attempt {len(tried) + 1}" if tried else "")
    return Decision(reason, replace(seen, differs_since=state.now), request)


def _tried(
    attempts: Sequence[Attempt], wanted: str, have: frozenset[str], made_by: str
) -> list[Attempt]:
    """Return the latest consecutive attempts that did not lead to `wanted`, the newest first.

    A successful one counts only if it made the current results and left their state unchanged: its
    code reads the database differently, and asking again would never end.
    """
    own = {attempt.run_id for attempt in attempts}
    in_a_row = []
    for attempt in attempts:
        if attempt.request.wanted != wanted:
            break
        if attempt.outcome == SUCCEEDED and not (
            made_by in own and attempt.request.gone_from in have
        ):
            break
        in_a_row.append(attempt)
    return in_a_row


def _before_next(tried: Sequence[Attempt], state: State) -> str:
    """Return what must happen before the next attempt; empty if it may start now."""
    last, ago = tried[0], _ago(tried[0].ended, state.now)
    outcome = f"attempt {len(tried)} (run {last.run_id[:8]}) {_OUTCOMES[last.outcome]}"
    repeated = last.outcome in (FAILED, SUCCEEDED)
    if repeated and len(tried) <= len(RETRY_MINUTES):
        wait = RETRY_MINUTES[len(tried) - 1] * 60 - ago
        return f"{outcome}, the next in {span(wait)}" if wait > 0 else ""
    if last.request.films == state.database.media:
        return f"{outcome}: no further attempt until something changes, or the nightly run"
    wait = RETRY_CHANGED_MINUTES * 60 - ago
    return f"{outcome}; films have changed since, the next in {span(wait)}" if wait > 0 else ""


_OUTCOMES = {
    FAILED: "failed",
    STOPPED: "was stopped by a check",
    CANCELED: "was canceled by hand",
    SUCCEEDED: "succeeded and left the results unchanged",
}


def decide_nightly(
    now: Sequence[str], searched: Sequence[str], trained: Sequence[str], *, always: bool
) -> tuple[bool, str]:
    """Return whether the nightly run needs search and training, and why.

    Args:
        now: the fingerprints of labels, films and recipe.
        searched: the same at the last search for hyperparameters; empty if none is recorded.
        trained: the same at the last training.
        always: search and train in any case.
    """
    if always:
        return True, "ATX_RETRAIN_ALWAYS is set"
    if not searched or not trained:
        return True, "there is no record of an earlier search and training"
    names = ("labels", "films", "code or settings")
    changed = [
        name
        for name, current, *earlier in zip(names, now, searched, trained, strict=True)
        if set(earlier) != {current}
    ]
    if changed:
        return True, f"{', '.join(changed)} changed since the last search and training"
    return False, (
        "labels, films and code are those of the last search and training: no search and no "
        "training, but everything is scored and reported"
    )


def _difference(what: str, have: frozenset[str], wanted: str) -> str:
    before = max((count_of(h) for h in have - {wanted}), default=0)
    return f"{what} differ from the results ({before:,} rows then, {count_of(wanted):,} now)"


def _people(have: frozenset[str], wanted: str) -> str:
    before = max((count_of(h) for h in have - {wanted}), default=0)
    return f", by a person too ({before:,} then, {count_of(wanted):,} now)"


def span(seconds: float) -> str:
    """Format a time for a reason."""
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""Shows a run's events as they happen: assets made, checks that did not pass, the failure.

Not here: running (`commands/run.py`), nor how lines and bars look (`display.py`).
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atx_assets.automation.failures import cause_of
from atx_assets.commands.output.display import ASSETS, Display
from atx_assets.home.dagster_storage import is_storage_failure
from atx_assets.learning.folds import FOLDS
from atx_assets.plain_text import plain

if TYPE_CHECKING:
    import dagster as dg

#: The time of one nested search, relative to the search on all labels, by ATX_SEARCH: the same
#: search on fewer labels (0.65 and 0.73 on 2,397 labels), or a race over a fifth of the grid.
_NESTED = {"race": 0.2, "full": 0.7, "off": 0.7}
_SEARCH = re.compile(
    r"hyperparameters: (?:nested search (?P<number>\d+) of \d+: )?"
    r"(?P<done>\d+) of (?P<all>\d+) fits"
)

#: The figures in an asset's line of progress.
_FIGURES = (
    "note",
    "rows of films",
    "mended",
    "set aside",
    "titles",
    "unlabelled",
    "films",
    "labelled films",
    "keeps",
    "skips",
    "features",
    "combinations",
    "version",
    "out-of-fold pr_auc",
    "unlabelled films",
    "mistakes",
    "to label",
    "to label again",
    "recommended",
)


@dataclass
class Outcome:
    """What a run has done so far.

    `assets` has `seconds`, `rows` (None if it has no rows) and `figures` of each asset made;
    `checks` has `asset`, `check`, `severity` (warning or error) and `description` of each check
    that did not pass.
    """

    run_id: str | None = None
    assets: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""
    interrupted: bool = False


class Progress:
    """Shows a run's events as they happen, and records them in an `Outcome`."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        run_id: str,
        total: int,
        display: Display,
        outcome: Outcome,
        search: str = "race",
    ) -> None:
        """Follow a run that makes `total` assets; `search` is the value of ATX_SEARCH."""
        self._instance, self._display, self._outcome = instance, display, outcome
        self._run_id = outcome.run_id = run_id
        self._cursor: str | None = None
        self._ended = threading.Event()
        self._total, self._search = total, search
        #: When each running step began (seconds since 1970), and how far the search is (0 to 1).
        self._making: dict[str, float] = {}
        self._share = 0.0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the events while the block runs, and the last of them after it."""
        thread = threading.Thread(target=self._follow, name="atx-progress", daemon=True)
        with self._display.showing(self._total):
            thread.start()
            try:
                yield
            finally:
                self._ended.set()
                thread.join()
                self._show_new_events()

    def _follow(self) -> None:
        from sqlalchemy.exc import DBAPIError

        while not self._ended.wait(0.5):
            try:
                self._show_new_events()
            except Exception as error:
                # The next look shows these events. If the storage stays away, the last one fails.
                if not (isinstance(error, DBAPIError) or is_storage_failure(error)):
                    raise

    def _show_new_events(self) -> None:
        while True:
            page = self._instance.get_records_for_run(self._run_id, cursor=self._cursor)
            self._cursor = page.cursor
            for record in page.records:
                self._show(record.event_log_entry)
            if not page.has_more:
                return

    def _show(self, entry: dg.EventLogEntry) -> None:
        event, outcome, making = entry.dagster_event, self._outcome, self._making
        if event is None:
            # A line that an asset or a resource logged, not an event of Dagster's own.
            if entry.level == logging.INFO:
                self._show_log_line(entry)
            return
        kind, step = event.event_type_value, event.step_key or ""
        if kind == "STEP_START":
            making[step] = entry.timestamp
            self._display.draw(step)
        elif kind == "ASSET_MATERIALIZATION":
            asset = event.asset_key.to_user_string() if event.asset_key else ""
            seconds = entry.timestamp - making.get(step, entry.timestamp)
            metadata = event.step_materialization_data.materialization.metadata
            outcome.assets[asset] = made = _made(seconds, metadata)
            self._display.draw(ASSETS, len(outcome.assets))
            self._display.say(f"  {asset:<18}{seconds:6.1f} s  {_format(made['figures'])}")
        elif kind in ("STEP_SUCCESS", "STEP_SKIPPED"):
            making.pop(step, None)
            self._display.end(step)
        elif kind == "ASSET_CHECK_EVALUATION":
            self._show_check(event.asset_check_evaluation_data)
        elif kind == "STEP_FAILURE" and not outcome.failure:
            error: Any = event.step_failure_data.error
            outcome.interrupted = error.cls_name == "DagsterExecutionInterruptedError"
            outcome.failure = f"{event.step_key}: {cause_of(error)}"
        elif kind in ("RUN_FAILURE", "RESOURCE_INIT_FAILURE") and not outcome.failure:
            error = getattr(event.event_specific_data, "error", None)
            outcome.failure = cause_of(error) if error else ""

    def _show_log_line(self, entry: dg.EventLogEntry) -> None:
        line, known = plain(entry.user_message), self._share
        share = search_share(line, self._search)
        if share is None:
            self._display.say(f"    {line}")
            return
        # Several threads log their progress, so that lines may be out of order.
        if share <= known:
            return
        self._share = share
        self._display.draw(entry.step_key or "", share)
        if not self._display.moves and int(share * 10) > int(known * 10):
            self._display.say(f"    {line} ({share:.0%} of the search)")

    def _show_check(self, check: Any) -> None:
        if check.passed:
            return
        asset, warning = check.asset_key.to_user_string(), check.severity.value == "WARN"
        self._outcome.checks.append(
            {
                "asset": asset,
                "check": check.check_name,
                "severity": "warning" if warning else "error",
                "description": check.description,
            }
        )
        what = "warning" if warning else "failed check"
        line = plain(f"    {what}: {check.check_name}: {check.description}")
        if warning or self._outcome.failure:
            self._display.warn(line)
        else:  # the command ends with it as its one error line
            self._display.say(line)
            self._outcome.failure = f"{asset}: {check.check_name}: {check.description}"


def search_share(line: str, search: str) -> float | None:
    """Return how much of the search is done (0 to 1), from a line that the search logged.

    None if the line is about something else. It is a share of the time for the search on all
    labels and the nested searches, each of which leaves out one fold.
    """
    match = _SEARCH.match(line)
    if not match:
        return None
    part = int(match["done"]) / int(match["all"])
    number = int(match["number"] or 0)
    nested = _NESTED[search]
    done = 1 + nested * (number - 1 + part) if number else part
    return done / (1 + nested * FOLDS)


def _made(seconds: float, metadata: Any) -> dict[str, Any]:
    rows = metadata.get("dagster/row_count")
    return {
        "seconds": round(seconds, 3),
        "rows": rows.value if rows else None,
        "figures": {name: metadata[name].value for name in _FIGURES if name in metadata},
    }


def _format(figures: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )

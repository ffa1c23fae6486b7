"""Which labels in the `training` layout the downloader gave, although their rows are reviewed.

The downloader writes its own decision into `label` wherever `human_labeled` is false, in reviewed
rows too, and leaves `reviewed` true. One look at the table cannot distinguish such a label from
one that a person confirmed; two looks can. This module compares one extraction with the next. Not
here: the file of what was seen (`sources/observed_record.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql

from atx_assets.sources.layouts import SCHEMA, SourceTable

#: If more rows than this become reviewed between two extractions, a job did it.
MOST_BY_HAND = 50

#: Why a model gave the label of a reviewed row: the label changed while the row stayed reviewed and
#: no person labelled it; or a job reviewed the row, together with many others.
CHANGED, JOB = "changed", "job"

# Malformed ids are set aside in any case. The creation time distinguishes the row from another one
# of the same title, such as another database's: the label did not change between those.
_STATES = r"""
    SELECT imdb_id::text, CASE label::text WHEN 'would_watch' THEN true
           WHEN 'would_not_watch' THEN false END, human_labeled, coalesce(reviewed, false),
           CASE WHEN isfinite(created_at)
                THEN (extract(epoch FROM created_at) * 1000000)::bigint END
    FROM {} WHERE imdb_id::text ~ '^tt[0-9]{{7,8}}$'
"""


@dataclass(frozen=True)
class State:
    """A row as it was in the last extraction that had it.

    Attributes:
        label: keep, skip, or None.
        human: a person gave the label.
        reviewed: somebody or something has reviewed the row.
        created: when the row was made, in microseconds.
        reason: `CHANGED` or `JOB` if a model gave the label, otherwise None. A person's label
            overrides it; it counts again if that is undone.
        given: the label that the model gave; None without a reason.
        was: the label before the model's; None without a reason.
        last: the row's last label that no person gave; None if none is known. A label
            that is removed and comes back the same has not changed.
        present: the last extraction had the row.
    """

    label: bool | None
    human: bool
    reviewed: bool
    created: int | None
    reason: str | None = None
    given: bool | None = None
    was: bool | None = None
    last: bool | None = None
    present: bool = True

    @property
    def by_model(self) -> bool:
        """Return whether a model gave the label although the row is reviewed."""
        return self.reason is not None and self.reviewed and not self.human


States = dict[str, State]


def can_be_observed(source: SourceTable) -> bool:
    """Return whether the table distinguishes people's labels and reviewed rows from others.

    Without the two columns, no person could confirm a label that has changed.
    """
    return source.layout.name == "training" and {"human_labeled", "reviewed"} <= set(source.columns)


def read_states(connection: psycopg.Connection, source: SourceTable) -> States:
    """Read each row's state, in the current transaction of `connection`."""
    query = sql.SQL(_STATES).format(sql.Identifier(SCHEMA, source.layout.table))
    found: States = {}
    repeated = set[str]()
    for imdb_id, *state in connection.execute(query).fetchall():
        # A database of encoding SQL_ASCII hands out bytes.
        key = imdb_id.decode() if isinstance(imdb_id, bytes) else imdb_id
        repeated |= {key} & found.keys()
        found[key] = State(*state)
    # A view may have an id twice; such rows are set aside.
    return {key: state for key, state in found.items() if key not in repeated}


def observe(now: Mapping[str, State], before: Mapping[str, State]) -> States:
    """Return what is known of each row after an extraction.

    Args:
        now: the rows as they are.
        before: what was known after the last extraction. Rows that are gone stay known.

    Returns:
        One state per row; for new rows, what their own columns say.
    """
    last = {k: before[k] for k in now if k in before and before[k].created == now[k].created}
    turned = {
        key
        for key, was in last.items()
        if now[key].reviewed and not was.reviewed and not (now[key].human or was.human)
    }
    by_job = len(turned) > MOST_BY_HAND
    known = {key: replace(state, present=False) for key, state in before.items()}
    for key, row in now.items():
        known[key] = (
            _after(row, last[key], key in turned, by_job) if key in last else first_seen(row)
        )
    return known


def models_labels(states: Mapping[str, State]) -> frozenset[str]:
    """Return the keys of the rows whose label is a model's, unless a person has overruled it."""
    return frozenset(key for key, state in states.items() if state.reason)


def first_seen(row: State) -> State:
    """Return the state of a row of which only its own columns are known."""
    return replace(row, last=None if row.human else row.label)


def _after(row: State, before: State, turned: bool, by_job: bool) -> State:
    """Return a row's state, including what the one before shows about the label."""
    as_before = replace(
        row, reason=before.reason, given=before.given, was=before.was, last=before.last
    )
    if row.human:
        return as_before
    if not row.reviewed:
        return first_seen(row)
    if row.label is None:
        return as_before
    if before.human and (before.last is None or row.label == before.label != before.last):
        # Nothing was known before the person; or their label stays, but no longer as theirs.
        return first_seen(row)
    if turned:
        # A model's label stays one, unless a person then reviewed that single row.
        by_model = replace(row, reason=JOB, given=row.label, was=before.label, last=row.label)
        return by_model if by_job else first_seen(row)
    if row.label != before.last:
        was = before.was if before.reason else before.last
        return replace(row, reason=CHANGED, given=row.label, was=was, last=row.label)
    return as_before


def words(label: bool | None) -> str:
    """Return a label as a person reads it."""
    return {True: "keep", False: "skip", None: "none known"}[label]


def of_models(states: Mapping[str, State], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one record per label that a model gave, for a table that a person reads; in order."""
    return [
        {
            "title": names.get(key) or key,
            "imdb_id": key,
            "was": words(state.was),
            "is": words(state.label),
            "why": {CHANGED: "changed by the downloader", JOB: "reviewed by a job"}[state.reason],
        }
        for key, state in sorted(states.items())
        if state.by_model and state.reason and state.present and state.label is not None
    ]

"""Whether a correction leaves the labels that its plan says.

A title's label depends on more rows than those written, and on the times that the table's trigger
sets. Nobody can predict either, so labels are read again in the transaction that wrote them.
Not here: the writing (`corrections.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from atx_assets.errors import AtxError
from atx_assets.sources.correct.plan import Plan, TitleChange
from atx_assets.sources.correct.targets import read_library
from atx_assets.sources.layouts import SourceTable

#: Titles named in a refusal.
_NAMED = 5


def check_labels(connection: psycopg.Connection, source: SourceTable, plan: Plan) -> None:
    """Read the labels that the written rows produce, and compare them with those of the plan.

    Raises:
        AtxError: a title has another label. The transaction must then be rolled back.
    """
    library = read_library(connection, source)
    found = [
        (title, library.label(title.key) if title.key in library.titles else "no label")
        for title in plan.titles
        if title.rows
    ]
    wrong = [(title, label) for title, label in found if label != title.becomes]
    if not wrong:
        return
    named = "; ".join(f"{t.name} would be {label}, not {t.becomes}" for t, label in wrong[:_NAMED])
    more = f"; and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
    raise AtxError(f"nothing was written: {named}{more}: {_fix(plan, [t for t, _ in wrong])}")


def timing_note(apart: str, at_once: str) -> str:
    """Say so if a label depends on the times that the table gives to the written rows.

    Args:
        apart: the label if each row gets its own time.
        at_once: the label if the table gives the same time to all rows of a transaction.
    """
    if apart == at_once:
        return ""
    return f"refused if the table gives all rows the same time: the label would be {at_once}"


def _fix(plan: Plan, wrong: Sequence[TitleChange]) -> str:
    """Say how to get the labels that the plan does not produce."""
    by_verdict: dict[str | None, list[str]] = {}
    for title in wrong:
        id_ = title.imdb_id or title.rows[0].key
        by_verdict.setdefault(title.verdict, []).append(id_)
    if plan.verdict != "undo" or None in by_verdict:
        return f"a trigger or rule of {plan.table} prevents it: change that"
    commands = [
        f"`atx correct {verdict} {' '.join(ids)} --write`" for verdict, ids in by_verdict.items()
    ]
    return (
        f"{plan.table} gives all rows of a transaction the same time, and the later label counts: "
        f"run {' and '.join(commands)}, then undo the rest of correction {plan.undoes}"
    )

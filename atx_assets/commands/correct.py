"""`atx correct`: previews a person's labels, writes them to the database, and undoes them.

Not here: what a correction does (`sources/correct/correction.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from atx_assets.home.home import open_home
from atx_assets.plain_text import plain
from atx_assets.settings import Settings

if TYPE_CHECKING:
    from atx_assets.sources.correct.correction import Corrected
    from atx_assets.sources.correct.plan import Plan, Verdict

Say = Callable[[str], None]

VIA = "atx correct"

#: Titles listed one by one; the rest are only counted.
SHOWN = 50

_WIDEST = 44


def given_ids(words: Iterable[str], stdin: TextIO) -> list[str]:
    """Return the ids of a command line. A `-` is replaced by those of standard input."""
    return [id_ for word in words for id_ in (stdin.read().split() if word == "-" else [word])]


def correct(
    settings: Settings, ids: Sequence[str], verdict: Verdict, say: Say, *, write: bool
) -> None:
    """Preview or write a label of titles, and report the outcome.

    Raises:
        AtxError: it failed; nothing was written.
    """
    from atx_assets.sources.correct.correction import correct as make_correction

    with open_home(settings) as ready:
        done = make_correction(ready, ids, verdict, write=write, via=VIA)
    _report(done, say, write=write)


def undo(settings: Settings, number: int, say: Say, *, write: bool) -> None:
    """Preview or write the undoing of a correction, and report the outcome.

    Raises:
        AtxError: it failed; nothing was written.
    """
    from atx_assets.sources.correct.correction import undo as undo_correction

    with open_home(settings) as ready:
        done = undo_correction(ready, number, write=write, via=VIA)
    _report(done, say, write=write)


def list_corrections(settings: Settings, say: Say) -> None:
    """List the recorded corrections, the newest first."""
    from atx_assets.sources.correct.record import CorrectionRecord

    record = CorrectionRecord(settings.home)
    entries = record.entries()
    if not entries:
        say(f"no corrections yet in {record.path}")
        return
    rows = [
        {
            "number": e.number,
            "when": e.at.replace("T", " ").removesuffix("+00:00"),
            "verdict": e.verdict if e.undoes is None else f"undo of {e.undoes}",
            "titles": len({(row.imdb_id, row.name) for row in e.rows}),
            "rows": len(e.rows),
            "outcome": e.outcome,
            "who": f"{e.who}, {e.via}",
            "database": e.database,
        }
        for e in reversed(entries)
    ]
    for line in aligned(rows):
        say(line)
    if damaged := record.damaged():
        say(f"{damaged} lines of {record.path} were cut short by a crash and are skipped")
    if any(e.outcome == "unknown" for e in entries):
        say("unknown: it may not have been written; `atx correct undo NUMBER` compares the rows")


def aligned(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rows as lines of a table, below a line of column names."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    numbers = [all(isinstance(row[name], int | None) for row in rows) for name in rows[0]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        for line in cells
    ]


def _cell(value: Any) -> str:
    text = "" if value is None else plain(str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _report(done: Corrected, say: Say, *, write: bool) -> None:
    plan = done.plan
    say(plan.summary())
    records = plan.records()
    if records:
        for line in aligned(records[:SHOWN]):
            say(f"  {line}")
    if len(records) > SHOWN:
        say(f"  and {len(records) - SHOWN:,} more")
    for warning in _shortened(plan):
        say(f"warning: {plain(warning)}")
    for line in _outcome(done, write=write):
        say(line)


def _shortened(plan: Plan) -> list[str]:
    warnings = plan.warnings()
    more = len(warnings) - SHOWN
    return warnings[:SHOWN] + ([f"and {more:,} more of these"] if more > 0 else [])


def _outcome(done: Corrected, *, write: bool) -> list[str]:
    if done.number is not None:
        return [
            f"written as correction {done.number}; to undo it: "
            f"atx correct undo {done.number} --write",
            "if `atx up` is running, the label sensor picks it up; else: atx run --job refresh",
        ]
    if not done.plan.rows:
        return ["nothing to write" if write else "nothing was written: there is nothing to write"]
    return ["nothing was written; to write it, repeat the command with --write"]

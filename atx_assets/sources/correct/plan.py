"""What a correction of labels would change, and the words for it.

Not here: the database (`corrections.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from atx_assets.sources.layouts import SCHEMA, Layout

Verdict = Literal["keep", "skip"]

#: Column and value, for the columns that a correction writes.
Values = dict[str, str | bool | None]

#: States in which the downloader has begun to fetch a release, or has fetched it.
FETCHED = ("downloading", "downloaded", "transferred", "complete")

#: Names in one line of a warning; the table above it lists all of them.
_NAMED = 20


@dataclass(frozen=True)
class RowChange:
    """One row: its title, and its values before and after."""

    key: str
    title: str
    year: int | None
    imdb_id: str | None
    was: Values
    now: Values

    @property
    def name(self) -> str:
        """The title as a person names it."""
        return _name(self.title, self.year)

    @property
    def may_be_fetched(self) -> bool:
        """Whether the downloader fetches the row once it is written: a keep, back at the start."""
        return (self.now.get("pipeline_status"), self.now.get("rejection_status")) == (
            "ingested",
            "override",
        )


@dataclass(frozen=True)
class TitleChange:
    """One title: its key, how many rows it has, its label before and after, the rows to write.

    `rows` is empty if the title already has the label. `note` holds anything else worth knowing.
    """

    key: str
    title: str
    year: int | None
    imdb_id: str | None
    releases: int
    label: str
    becomes: str
    rows: tuple[RowChange, ...]
    note: str = ""

    @property
    def name(self) -> str:
        """The title as a person names it."""
        return _name(self.title, self.year)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict that gives the title the new label, if a person's verdict does."""
        verdicts: tuple[Verdict, ...] = ("keep", "skip")
        return next(
            (v for v in verdicts if self.becomes == label_words(v == "keep", "human")), None
        )


@dataclass(frozen=True)
class Plan:
    """A correction that is possible and not yet written.

    `left` names the rows that an undo leaves alone because they have changed since; `alike`
    counts those that already are as the undo would make them. `grant` is the GRANT that the user
    needs before it can be written, or empty.
    """

    layout: Layout
    verdict: Verdict | Literal["undo"]
    titles: tuple[TitleChange, ...]
    undoes: int | None = None
    left: tuple[str, ...] = ()
    alike: int = 0
    grant: str = ""

    @property
    def table(self) -> str:
        """The table's name, as messages show it."""
        return f"{SCHEMA}.{self.layout.table}"

    @property
    def rows(self) -> tuple[RowChange, ...]:
        """The rows to write."""
        return tuple(row for title in self.titles for row in title.rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns to write."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.now))

    def records(self) -> list[dict[str, Any]]:
        """Return one record per title, for a table that a person reads; the changed ones first."""
        in_order = sorted(self.titles, key=lambda title: not title.rows)
        return [
            {
                "title": t.title,
                "year": t.year,
                "IMDb id": t.imdb_id,
                **({"releases": t.releases} if self.layout.name == "media" else {}),
                "now": t.label,
                "becomes": t.becomes if t.rows else "unchanged",
                "note": t.note,
            }
            for t in in_order
        ]

    def summary(self) -> str:
        """Say in one line how much would change."""
        changed = sum(bool(t.rows) for t in self.titles)
        text = f"{self.table}: {count(len(self.titles), 'title')}, "
        text += f"{changed:,} to change ({count(len(self.rows), 'row')})"
        if self.verdict != "undo":
            return f"{text}, {len(self.titles) - changed:,} already a person's {self.verdict}"
        return f"{text}, {count(self.alike, 'row')} already as before"

    def warnings(self) -> list[str]:
        """Say what writing it would cause, and what prevents it."""
        return [
            *self._fetches(),
            *(f"changed since, and left unchanged: {row}" for row in self.left),
            *([f"cannot be written yet: {self.grant}"] if self.grant else []),
        ]

    def _fetches(self) -> list[str]:
        rows = [row for row in self.rows if row.may_be_fetched]
        if not rows:
            return []
        titles = len({(row.imdb_id, row.name) for row in rows})
        warnings = [
            f"the downloader may now fetch {count(len(rows), 'release')} of "
            f"{count(titles, 'title')}: their pipeline_status becomes ingested"
        ]
        again = [row for row in rows if row.was.get("pipeline_status") in FETCHED]
        if again:
            named = Counter(f"{row.name}, {row.was['pipeline_status']}" for row in again)
            names = [f"{name}{f' ×{n}' if n > 1 else ''}" for name, n in named.items()]
            more = f"; and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            warnings.append(
                f"{count(len(again), 'release')} of them may be fetched again: "
                f"{'; '.join(names[:_NAMED])}{more}"
            )
        return warnings


def written_values(layout: Layout, verdict: Verdict, columns: Mapping[str, Any]) -> Values:
    """Return the values of a person's verdict in a row of a table that has `columns`."""
    wanted: Values
    if layout.name == "training":
        label = "would_watch" if verdict == "keep" else "would_not_watch"
        wanted = {"label": label, "human_labeled": True, "reviewed": True}
    elif verdict == "keep":
        # The downloader starts a row at `ingested`, and skips one that has an error.
        wanted = {
            "rejection_status": "override",
            "rejection_reason": None,
            "error_status": False,
            "error_condition": None,
            "pipeline_status": "ingested",
        }
    else:
        wanted = {"rejection_status": "rejected", "rejection_reason": None}
    # An older table, or one made from a file, may have fewer.
    return {name: value for name, value in wanted.items() if name in columns}


def label_words(keep: bool | None, giver: str | None) -> str:
    """Return a label and who gave it, as text."""
    if keep is None:
        return "unlabelled"
    return f"{'keep' if keep else 'skip'} ({giver})"


def fetched_note(rows: Sequence[RowChange]) -> str:
    """Say how far the downloader already is with rows that it may now fetch."""
    statuses = [str(row.was.get("pipeline_status")) for row in rows if row.may_be_fetched]
    found = Counter(status for status in statuses if status in FETCHED)
    text = ", ".join(f"{n} {status}" for status, n in found.items())
    return f"{text}: may be fetched again" if text else ""


def _name(title: str, year: int | None) -> str:
    return f"{title} ({year})" if year is not None else title


def count(number: int, thing: str) -> str:
    """Return a number and the name of the thing counted."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"

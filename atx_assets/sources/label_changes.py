"""How the current labels differ from those learned from last, title by title.

Not here: whether anything follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: How many changes are named.
NAMED = 50


@dataclass(frozen=True)
class LabelChanges:
    """How many labels were added, changed and removed, and the first `NAMED` of them.

    Each of `first` has `media_title`, `release_year` (None if the title is gone), `was` and
    `is`, verdicts in words; changes come before additions and removals, each in the order of
    keys.
    """

    added: int
    changed: int
    removed: int
    first: list[dict[str, Any]]

    def __str__(self) -> str:
        """Return the counts in words."""
        return f"{self.added:,} added, {self.changed:,} changed, {self.removed:,} removed"


def label_changes(titles: pa.Table, learned: pa.Table) -> LabelChanges:
    """Compare the labels of titles with those of a training table.

    Args:
        titles: as `sources/titles.py` makes them.
        learned: `key`, `media_title`, `label` and `label_source`, one row per training title.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    was = learned.select(["key", "media_title", "label", "label_source"])
    was = was.rename_columns(["key", "title_then", "was", "was_from"])
    both = titles.select(_COMPARED).join(was, "key", join_type="full outer")
    trains, trained = both["trains"].fill_null(False), both["was"].is_valid()
    differs = pc.or_(
        pc.not_equal(both["label"], both["was"]),
        pc.not_equal(both["label_source"], both["was_from"]),
    )
    changed, added, removed = (
        both.filter(rows).sort_by("key")
        for rows in (
            pc.and_(pc.and_(trains, trained), differs),
            pc.and_not(trains, trained),
            pc.and_not(trained, trains),
        )
    )
    first = pa.concat_tables([changed, added, removed]).slice(0, NAMED).to_pylist()
    return LabelChanges(
        added.num_rows, changed.num_rows, removed.num_rows, [_change(row) for row in first]
    )


_COMPARED = ["key", "media_title", "release_year", "trains", "label", "label_source"]


def _change(row: dict[str, Any]) -> dict[str, Any]:
    if row["trains"]:
        now = verdict_in_words(row["label"], row["label_source"])
    else:  # a title that still exists has lost its label; otherwise its rows are gone
        now = "not among the films" if row["trains"] is None else "no label to learn from"
    return {
        "media_title": row["title_then"] if row["trains"] is None else row["media_title"],
        "release_year": row["release_year"],
        "was": "no label" if row["was"] is None else verdict_in_words(row["was"], row["was_from"]),
        "is": now,
    }


def verdict_in_words(keep: bool, source: str) -> str:
    """Return a label as text: `keep by a person`."""
    return f"{'keep' if keep else 'skip'} by {giver_in_words(source)}"


def giver_in_words(source: str) -> str:
    """Return who gave a label, as text."""
    return {"human": "a person", "rule": "a rule"}.get(source, "a model")

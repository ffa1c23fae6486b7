"""What the labels there are differ in from those that were learned from last, title by title.

Not here: whether anything follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: How many changes are told of by name.
NAMED = 50


@dataclass(frozen=True)
class LabelChanges:
    """How many labels were added, changed and removed, and the first `NAMED` of them.

    Each of `first` has `media_title`, `release_year` (None where the title is gone), `was` and
    `is`, verdicts in words; what was changed comes before what was added and removed, each in
    the order of keys.
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
        learned: `key`, `media_title`, `label` and `label_source`, a row a training title.
    """
    import pyarrow.compute as pc

    training = titles.filter(titles["trains"])
    at = pc.index_in(training["key"], learned["key"].combine_chunks())
    known = training.filter(at.is_valid())
    before = learned.take(at.drop_null())
    differs = pc.or_(
        pc.not_equal(known["label"], before["label"]),
        pc.not_equal(known["label_source"], before["label_source"]),
    )
    changed, was = known.filter(differs), before.filter(differs)
    added = training.filter(at.is_null())
    removed = learned.filter(
        pc.invert(pc.is_in(learned["key"], training["key"].combine_chunks()))
    ).sort_by("key")
    found = [
        _change(now, _verdict(old), _verdict(now))
        for now, old in zip(_first(changed), _first(was), strict=True)
    ]
    found += [_change(now, "no label", _verdict(now)) for now in _first(added)]
    # A title that is there still has lost its label; else it went with its rows.
    place = pc.index_in(removed["key"], titles["key"].combine_chunks())
    left = titles.select(["release_year"]).take(place)["release_year"]
    for old, row, year in zip(_first(removed), place.to_pylist(), left.to_pylist(), strict=False):
        now = "not in the database" if row is None else "no label to learn from"
        found.append(_change({**old, "release_year": year}, _verdict(old), now))
    return LabelChanges(added.num_rows, changed.num_rows, removed.num_rows, found[:NAMED])


def _first(rows: pa.Table) -> list[dict[str, Any]]:
    wanted = [n for n in _NEEDED if n in rows.column_names]
    found: list[dict[str, Any]] = rows.select(wanted).slice(0, NAMED).to_pylist()
    return found


_NEEDED = ("media_title", "release_year", "label", "label_source")


def _verdict(row: dict[str, Any]) -> str:
    giver = {"human": "a person", "rule": "a rule"}.get(row["label_source"], "a model")
    return f"{'keep' if row['label'] else 'skip'} by {giver}"


def _change(title: dict[str, Any], was: str, now: str) -> dict[str, Any]:
    return {
        "media_title": title["media_title"],
        "release_year": title["release_year"],
        "was": was,
        "is": now,
    }

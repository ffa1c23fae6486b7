"""Random edits of releases: what changes a label changes the labels' fingerprint, and no more.

The rule of names, ids and rows that are set aside stands in Python; the fingerprint picks rows in
SQL. These hold the two together. 10,000 edits in `make soak`, some in `make test`.
"""

import random
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from atx_assets import schemas
from atx_assets.errors import AtxError
from atx_assets.sources.contract import sort_rows
from atx_assets.sources.layouts import MEDIA
from atx_assets.sources.read.fingerprints import Fingerprints
from atx_assets.sources.titles import titles
from atx_assets.sources.verdicts import labelled_rows
from atx_assets_tests.builders.scale import times

DAY = datetime(2025, 4, 1, tzinfo=UTC)
Row = dict[str, Any]
Draw = random.Random

#: Each way to spell a name, all of one normal form.
WAYS: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    str.casefold,
    lambda name: unicodedata.normalize("NFD", name),
    lambda name: name.replace(" ", "\u00a0"),
    lambda name: "  " + name.replace(" ", " \t ") + "\u3000",
    lambda name: "\ufeff" + "\u200b".join(name),
    lambda name: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name),
)
NAMES = ("Die große Stille", "Amélie", "Alien 3", "IT", "Ленин", "N/A", " ", "\u200b", "")
IDS = ("tt0000001", "tt0000002", " tt0000001\t", "\u00a0tt0000002", "tt1", "", "N/A", None)


def a_name(draw: Draw) -> str:
    return draw.choice(WAYS)(draw.choice(NAMES if draw.random() < 0.2 else NAMES[:5]))


#: What an edit may put into a column. The last four are read by nothing, but for a time that tells
#: which word of a person was later.
VALUES: dict[str, Callable[[Draw], Any]] = {
    "imdb_id": lambda draw: draw.choice(IDS),
    "media_title": lambda draw: None if draw.random() < 0.1 else a_name(draw),
    "original_title": a_name,
    "release_year": lambda draw: draw.choice((2005, 2005, 2006, None, 9999)),
    "rejection_status": lambda draw: draw.choice(schemas.REJECTION_STATUSES),
    "rejection_reason": lambda draw: draw.choice((None, "", "N/A", " ", "rt_score is null")),
    "imdb_votes": lambda draw: draw.choice((None, 5, 5, -5)),
    "imdb_rating": lambda draw: draw.choice((None, 7.5, 75, 0.5)),
    "genre": lambda draw: draw.choice((None, ["Drama"], ["x" * 1001], ["a"] * 251)),
    "media_type": lambda draw: draw.choice(("movie", "movie", "movie", "tv_show")),
    "updated_at": lambda draw: DAY + timedelta(draw.randrange(4)),
    "pipeline_status": lambda draw: draw.choice(schemas.PIPELINE_STATUSES),
    "uploader": a_name,
    "season": lambda draw: draw.randrange(9),
}
SAYS_LABEL = ("imdb_id", "media_type", "rejection_status", "rejection_reason")
READ_BY_NOTHING = ("updated_at", "pipeline_status", "uploader", "season")


@dataclass(frozen=True)
class Truth:
    """What titles make of the rows: labels, a person's labels, and where each row's label ends."""

    labels: list[str]
    by_people: list[str]
    ends: list[str]


def truth_of(rows: list[Row]) -> Truth:
    in_order = sorted(rows, key=lambda row: row["hash"])
    found = sort_rows(pa.Table.from_pylist(in_order, schemas.arrow_schema(MEDIA.columns)), MEDIA)
    films = found.rows.filter(pa.compute.equal(found.rows["media_type"], "movie"))
    try:
        made = titles(found.rows, MEDIA, found.verdicts).to_pylist()
    except AtxError:  # no film
        return Truth([], [], [])
    labels = [
        f"{row['key']} {row['label']} {row['label_source']}"
        for row in made
        if row["label"] is not None
    ]
    raw = {row["hash"]: row["imdb_id"] for row in rows}
    ends = [
        f"{end} {raw[end['row']]!r}"
        for end in labelled_rows(films, MEDIA, found.verdicts).to_pylist()
    ]
    return Truth(labels, [label for label in labels if label.endswith("human")], sorted(ends))


def some_rows(draw: Draw, release: Callable[..., Row]) -> list[Row]:
    """Releases of a few titles, most of them as they should be."""
    rows = []
    for number in range(draw.randint(2, 5)):
        row = release(number, release_year=2005, rejection_status=VALUES["rejection_status"](draw))
        row |= {"imdb_id": draw.choice(("tt0000001", "tt0000002", None, None)), "imdb_votes": 5}
        row |= {"media_title": draw.choice(WAYS)(draw.choice(NAMES[:2]))}
        rows.append(row | {name: VALUES[name](draw) for name in ("rejection_reason", "updated_at")})
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(times(1, 20)))
def test_an_edit_changes_the_fingerprint_of_the_labels_whenever_it_changes_a_label(
    library, release, seed
):
    """Kept out: labels changed by a name that SQL compared in its own way, seen at night only."""
    draw = random.Random(f"edits {seed}")
    library.create("media")
    edits, changed, kept = 0, 0, 0
    while edits < times(120, 500):
        rows = some_rows(draw, release)
        library.execute("DELETE FROM atp.media")
        library.insert("media", rows)
        before, prints = truth_of(rows), library.fingerprints()
        for _ in range(12):
            edits += 1
            at, name = draw.randrange(len(rows)), draw.choice(list(VALUES))
            new = rows[at] | {name: VALUES[name](draw)}
            told = f"edit {edits} of seed {seed}: {name} of {rows} becomes {new[name]!r}"
            library.execute(
                f"UPDATE atp.media SET {name} = %s WHERE hash = %s", (new[name], new["hash"])
            )
            rows[at] = new
            after, now = truth_of(rows), library.fingerprints()
            changed += before.labels != after.labels
            kept += check(before, after, prints, now, name, told)
            before, prints = after, now
    assert changed > edits / 20
    assert kept > edits / 20


def check(
    before: Truth, after: Truth, prints: Fingerprints, now: Fingerprints, name: str, told: str
) -> bool:
    """Hold the fingerprints to the truth; return whether nothing was asked for."""
    if before.labels != after.labels:
        assert prints.labels != now.labels, told
    if before.by_people != after.by_people:
        assert prints.human_labels != now.human_labels, told
    if before.ends == after.ends and name not in SAYS_LABEL:
        assert prints.labels == now.labels, told
    if name in READ_BY_NOTHING:
        assert prints.media == now.media, told
        if before.labels == after.labels:
            assert prints == now, told
            return True
    return False

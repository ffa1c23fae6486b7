"""`atx show`: prints the data folder's lists of films and of rows set aside, as tables or JSON.

Not here: which films are in a list (`defs/assets/`). It reads neither database nor model.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from atx_assets.commands.output.display import is_terminal
from atx_assets.commands.output.tables import aligned, print_table
from atx_assets.errors import AtxError
from atx_assets.plain_text import plain
from atx_assets.schemas import ERROR_RECORDS, RECOMMENDED, REVIEW_QUEUE, UNKNOWN_TEXT
from atx_assets.settings import Settings
from atx_assets.sources.extracted import in_words, set_aside
from atx_assets.sources.label_changes import giver_in_words
from atx_assets.storage.data_folder import DataFolder
from atx_assets.text import normal_form

Say = Callable[[str], None]
Record = dict[str, Any]

#: Films in a table by default.
LIMIT = 20
#: Characters of width that a terminal needs to show the nearest labelled films as well.
_WIDE = 120
_LIKE = "most like it"
_WHY = "why, in log-odds"
_ASIDE = "why it is set aside"

_ERRORS = {"fp": "false_positives", "fn": "false_negatives"}


@dataclass(frozen=True)
class _Listing:
    """A list's columns, those for a narrow and a wide terminal, and the line for an empty list."""

    columns: Sequence[str]
    narrow: Sequence[str]
    wide: Sequence[str]
    none: str


_FILM = ("film", "id", "keep")
_OF_ERRORS = _Listing(
    columns=(*_FILM, "label", _WHY, _LIKE),
    narrow=(*_FILM, "label", _WHY),
    wide=(*_FILM, "label", _WHY, _LIKE),
    none="no mistakes",
)
_OF_QUEUE = _Listing(
    columns=(*_FILM, "task", "label", "because", _WHY, _LIKE),
    narrow=(*_FILM, "because", _WHY),
    wide=(*_FILM, "because", _WHY, _LIKE),
    none="nothing to label",
)
_OF_RECOMMENDED = _Listing(
    columns=(*_FILM, "genre", "because", _WHY, _LIKE),
    narrow=(*_FILM, "genre", _WHY),
    wide=(*_FILM, "genre", "because", _WHY, _LIKE),
    none="no unlabelled film is predicted keep",
)


def show_errors(
    settings: Settings,
    say: Say,
    *,
    kind: str | None = None,
    genres: Sequence[str] = (),
    limit: int | None = None,
    as_json: bool = False,
) -> None:
    """Print the films that the model gets wrong, the surest mistake first.

    Args:
        settings: those that name the data folder.
        say: takes a line.
        kind: only `fp` or only `fn`; None for both.
        genres: only films of any of these; empty for all.
        limit: how many; by default 20, or all as JSON.
        as_json: print the records as JSON.

    Raises:
        AtxError: a file is missing or damaged, or no listed film has such a genre.
    """
    every = [record for asset in _ERRORS.values() for record in _read(settings, asset)]
    every.sort(key=lambda record: -abs(record["beyond_threshold"]))
    chosen = _of_genres(every, genres)
    chosen = [record for record in chosen if kind in (None, record["cm_value"])]
    _print(say, chosen, limit, as_json, _OF_ERRORS)


def show_queue(
    settings: Settings,
    say: Say,
    *,
    genres: Sequence[str] = (),
    limit: int | None = None,
    as_json: bool = False,
) -> None:
    """Print the films to label, or to label again, the best of each kind first.

    The arguments and errors are those of `show_errors`.
    """
    every = [r for r in _read(settings, "review_queue") if r["task"] != RECOMMENDED]
    every.sort(key=lambda record: record["rank"])
    _print(say, _of_genres(every, genres), limit, as_json, _OF_QUEUE)


def show_recommendations(
    settings: Settings,
    say: Say,
    *,
    genres: Sequence[str] = (),
    limit: int | None = None,
    as_json: bool = False,
) -> None:
    """Print the films that the model would keep and nobody has labelled, best first.

    The arguments and errors are those of `show_errors`.
    """
    every = [r for r in _read(settings, "review_queue") if r["task"] == RECOMMENDED]
    every.sort(key=lambda record: record["rank"])
    _print(say, _of_genres(every, genres), limit, as_json, _OF_RECOMMENDED)


def show_quarantine(
    settings: Settings, say: Say, *, limit: int | None = None, as_json: bool = False
) -> None:
    """Print the rows of the source that are set aside, and why.

    Args:
        settings, say: as for `show_errors`.
        limit: how many; by default 20, or all as JSON.
        as_json: print the records as JSON, each with the row itself.

    Raises:
        AtxError: the file is missing or damaged.
    """
    files = DataFolder(settings.data_dir)
    records = files.read_table("quarantine").to_pylist()
    if as_json:
        parsed = [record | {"row": json.loads(record["row"])} for record in records]
        say(json.dumps(parsed[:limit], indent=2))
        return
    quarantined, read = set_aside(files)
    if not read:
        raise AtxError(f"{files.path('raw_media')} is missing: `atx run` reads the rows")
    say(in_words(quarantined, read))
    rows = [
        {
            "film": [record["media_title"] or "?"],
            "id": [record["source_key"] or "no key"],
            _ASIDE: record["reasons"],
        }
        for record in records[: limit or LIMIT]
    ]
    if not rows:
        return
    _tabulate(say, rows, ("film", "id", _ASIDE), ("film", "id", _ASIDE))
    _more(say, len(records), len(rows))
    say("fix them at their source; the next change of the table or `atx run` reads them again")


def _read(settings: Settings, asset: str) -> list[Record]:
    files = DataFolder(settings.data_dir)
    records = files.read_records(asset)
    columns = {c.name for c in (REVIEW_QUEUE if asset == "review_queue" else ERROR_RECORDS)}
    if any(columns - record.keys() for record in records):
        raise AtxError(
            f"{files.path(asset)} was made by an earlier atx: `atx run --job score` rebuilds it"
        )
    return records


def _of_genres(records: Sequence[Record], genres: Iterable[str]) -> list[Record]:
    """Return the records of any of the genres, ignoring case and spacing."""
    wanted = [normal_form(genre) for genre in genres]
    if not wanted or not records:
        return list(records)
    known = {
        normal_form(genre): genre
        for record in records
        for genre in record["genre"]
        if genre not in UNKNOWN_TEXT
    }
    for genre in wanted:
        if genre not in known:
            names = ", ".join(sorted(plain(name) for name in known.values())) or "none"
            raise AtxError(f"no film in this list has the genre {genre!r}; its genres: {names}")
    return [r for r in records if {normal_form(genre) for genre in r["genre"]} & {*wanted}]


def _print(
    say: Say,
    records: Sequence[Record],
    limit: int | None,
    as_json: bool,
    listing: _Listing,
) -> None:
    if as_json:
        say(json.dumps(records[:limit], indent=2))
        return
    if not records:
        say(listing.none)
        return
    rows = [_cells(record, listing.columns) for record in records[: limit or LIMIT]]
    _tabulate(say, rows, listing.narrow, listing.wide)
    _more(say, len(records), len(rows))


def _tabulate(
    say: Say, rows: list[dict[str, list[str]]], narrow: Sequence[str], wide: Sequence[str]
) -> None:
    if is_terminal(sys.stdout):
        print_table(rows, narrow, wide, _WIDE)
    else:
        for line in aligned(rows):
            say(line)


def _more(say: Say, total: int, shown: int) -> None:
    if total > shown:
        say(f"and {total - shown:,} more: --limit {total}, or --json")


def _cells(record: Record, columns: Iterable[str]) -> dict[str, list[str]]:
    """Return the lines of each column's cell."""
    texts = {
        "film": [f"{record['media_title'] or '?'} ({record['release_year'] or '?'})"],
        "id": [record["imdb_id"] or record["key"]],
        "keep": [f"{record['probability']:.0%}"],
        "label": _label(record),
        "task": [record.get("task", "")],
        "because": [record.get("because", "")],
        "genre": [genre for genre in record["genre"] if genre not in UNKNOWN_TEXT],
        _WHY: record["why"],
        _LIKE: record["nearest"],
    }
    return {name: texts[name] for name in columns}


def _label(record: Record) -> list[str]:
    """Return a record's label, who gave it, and when it was last touched."""
    if record["label_source"] is None:
        return ["unlabelled"]
    giver = giver_in_words(record["label_source"])
    verdict = {True: "keep", False: "skip", None: "not learned from, given"}[record["actual"]]
    return [f"{verdict} by {giver}", *([record["label_date"]] if record["label_date"] else [])]

"""`atx explain`: why a film got its probability, and which labelled films are most like it.

Not here: how reasons and similar films are computed (`learning/`). It reads only files.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError
from atx_assets.plain_text import plain
from atx_assets.report.scored_films import Scored, read_scored
from atx_assets.settings import Settings
from atx_assets.sources.label_changes import giver_in_words
from atx_assets.storage.data_folder import DataFolder
from atx_assets.text import normal_form

if TYPE_CHECKING:
    import pyarrow as pa

#: Films named at most in the error for an id that matches none, or several.
NAMED = 5


def explain(
    settings: Settings, ids: Sequence[str], say: Callable[[str], None], *, as_json: bool = False
) -> None:
    """Print what the model says about films, and why.

    Args:
        settings: those that name the data folder.
        ids: each an IMDb id, a key, or a title, with or without its year in brackets.
        say: takes a line.
        as_json: print the record as JSON, or a list of records for several films.

    Raises:
        AtxError: an id matches no film, or several; or nothing has been scored.
    """
    import numpy as np

    files = DataFolder(settings.data_dir)
    scored = read_scored(files)
    aside = _set_aside(files)
    rows = np.array([_row_of(id_, scored.results, aside) for id_ in ids])
    # Imported here, so that an error above does not wait for XGBoost.
    from atx_assets.report.records import records_of

    records = [
        {
            **record,
            "threshold": scored.bundle.threshold,
            "decision": "keep" if record["predicted"] else "skip",
            "model_version": scored.bundle.version,
            "label": title["label"],
            "in_sample": title["identity_uncertain"],
        }
        for record, title in zip(
            records_of(scored, rows),
            scored.titles.select(["label", "identity_uncertain"]).take(rows).to_pylist(),
            strict=True,
        )
    ]
    if as_json:
        say(json.dumps(records if len(ids) > 1 else records[0], indent=2))
        return
    for at, record in enumerate(records):
        if at:
            say("")
        for line in _explanation(record, scored):
            say(plain(line))


def _row_of(asked: str, results: pa.Table, aside: Sequence[dict[str, Any]] = ()) -> int:
    """Return the row of the one film that `asked` names.

    Raises:
        AtxError: it matches no film, or several, and the line names candidates; or its row in the
            source is set aside, and the line says why.
    """
    word = normal_form(asked)
    films = results.select(["key", "imdb_id", "media_title", "release_year"]).to_pylist()
    for name in ("imdb_id", "key"):
        for row, film in enumerate(films):
            if word and normal_form(film[name] or "") == word:
                return row
    names = [normal_form(film["media_title"] or "") for film in films]
    years = [f"{name} ({film['release_year']})" for name, film in zip(names, films, strict=True)]
    rows = [row for row in range(len(films)) if word and word in (names[row], years[row])]
    if len(rows) == 1:
        return rows[0]
    if rows:
        raise AtxError(f"{asked!r} may be {_named(films, rows)}: give the id of one")
    if meant := [row for row in aside if word and word in _names(row)]:
        reasons = dict.fromkeys(reason for row in meant for reason in row["reasons"])
        rows_are = f"its {len(meant)} rows are" if len(meant) > 1 else "its row is"
        raise AtxError(
            f"{asked!r} was not scored: {rows_are} set aside ({plain('; '.join(reasons))}); fix "
            "it at its source, then `atx run --job score`"
        )
    near = _nearest(word, names, films)
    hint = f"; similar: {_named(films, near)}" if near else ""
    raise AtxError(f"no scored film is {asked!r}{hint}")


def _set_aside(files: DataFolder) -> list[dict[str, Any]]:
    """Return the rows of the source that are set aside; none before the first run."""
    if not files.path("quarantine").exists():
        return []
    columns = ("source_key", "imdb_id", "media_title", "reasons")
    rows: list[dict[str, Any]] = files.read_table("quarantine", columns).to_pylist()
    return rows


def _names(row: dict[str, Any]) -> list[str]:
    names = (row[name] or "" for name in ("source_key", "imdb_id", "media_title"))
    return [normal_form(name) for name in names]


def _nearest(word: str, names: list[str], films: list[dict[str, Any]]) -> list[int]:
    """Return rows whose title contains the word, or whose title or id is spelled like it."""
    rows = [row for row, name in enumerate(names) if len(word) > 2 and word in name]
    for texts in (names, [normal_form(film["key"]) for film in films]):
        close = difflib.get_close_matches(word, dict.fromkeys(texts), n=NAMED)
        rows += [row for text in close for row, name in enumerate(texts) if name == text]
    return list(dict.fromkeys(rows))


def _named(films: list[dict[str, Any]], rows: Sequence[int]) -> str:
    named = [
        f"{films[row]['media_title']} ({films[row]['release_year'] or '?'}) {films[row]['key']}"
        for row in rows[:NAMED]
    ]
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return plain(", ".join(named)) + more


def _explanation(record: dict[str, Any], scored: Scored) -> Iterator[str]:
    blind = record["actual"] is not None
    by = "by models that had not seen its label" if blind else "by the champion"
    if record["in_sample"]:
        by += ", which may have seen its label: several films it learned from are like this one"
    yield f"{record['media_title']} ({record['release_year'] or 'year unknown'})"
    yield f"  label      {_label(record)}"
    yield f"  chance     {record['probability']:.1%} of a keep, {by}"
    yield (
        f"  decision   {record['decision']}: a keep from {record['threshold']:.1%} on "
        f"(version {record['model_version']})"
    )
    yield from _lines("because", record["why"] or ["nothing moved it by much"])
    if record["why"]:
        yield "             in log-odds: above zero for a keep, below for a skip"
    yield from _lines("most like", record["nearest"])
    yield from _lines("genre", [", ".join(record["genre"])] if record["genre"] else [])
    yield from _lines("at", [record["link"] or f"no IMDb id; key {record['key']}"])


def _label(record: dict[str, Any]) -> str:
    if record["label_source"] is None:
        return "none: nobody has labelled it"
    giver = giver_in_words(record["label_source"])
    verdict = {True: "keep", False: "skip", None: "verdict"}[record["label"]]
    reason = f" ({record['label_reason']})" if record["label_reason"] else ""
    since = f", last touched {record['label_date']}" if record["label_date"] else ""
    apart = "" if record["actual"] is not None else "; not learned from"
    return f"{verdict} by {giver}{reason}{since}{apart}"


def _lines(name: str, lines: Sequence[str]) -> Iterator[str]:
    for at, line in enumerate(lines):
        yield f"  {'' if at else name:<11}{line}"

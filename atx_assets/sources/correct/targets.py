"""The titles that the ids of a correction name, found in the same way as elsewhere in atx.

Not here: what is written to their rows (`corrections.py`).
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atx_assets.errors import AtxError
from atx_assets.schemas import IMDB_ID, MEDIA
from atx_assets.sources.contract import sort_rows
from atx_assets.sources.correct.plan import (
    RowChange,
    TitleChange,
    Values,
    fetched_note,
    label_words,
)
from atx_assets.sources.layouts import FILM, SourceTable
from atx_assets.sources.quarantine import quarantine_table
from atx_assets.sources.read.extract import extract
from atx_assets.sources.titles import titles
from atx_assets.sources.verdicts import title_keys

_HASH = next(column.pattern for column in MEDIA if column.name == "hash")

#: Long columns that say neither which title a row is, nor its label.
_NOT_READ = {"overview", "tagline", "parent_path", "target_path", "original_path", "original_link"}

#: Later than any time in a row.
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def well_formed(ids: Sequence[str], source: SourceTable) -> list[str]:
    """Return the ids as they are stored, each once; malformed ones stay as they are."""
    stripped = (given.strip() for given in ids)
    media = source.layout.name == "media"
    found = dict.fromkeys(
        given.lower() if media and _matches(_HASH, given.lower()) else given for given in stripped
    )
    if not found:
        raise AtxError(f"no id was given: {_advice(source)}")
    return list(found)


def _matches(pattern: str, text: str) -> bool:
    # `$` alone would match before a newline at the end.
    return re.fullmatch(pattern.removeprefix("^").removesuffix("$"), text) is not None


def _advice(source: SourceTable) -> str:
    if source.layout.name == "training":
        return "give IMDb ids such as tt0133093"
    return "give IMDb ids such as tt0133093, or hashes of releases (40 hex digits)"


@dataclass(frozen=True)
class Library:
    """The table at one moment: rows of films and of others, and the titles by key.

    `title_of` maps the key of each film's row, in the order of `films`, to that of its title.
    `set_aside` maps keys and IMDb ids of unusable rows to the reason; they are in neither of the
    tables, but those whose verdict counts are in `verdicts`. `aside_of` maps the keys of unusable
    rows that name a title of the library by IMDb id to the title's key: once fixed, they are its
    releases.
    """

    source: SourceTable
    films: pa.Table
    others: pa.Table
    verdicts: pa.Table
    title_of: dict[str, str]
    titles: dict[str, dict[str, Any]]
    set_aside: dict[str, str]
    aside_of: dict[str, str]

    def rows_of(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """Return the keys of each title's rows, the one touched last at the end.

        Written and restored in this order, they keep it: if a person said both keep and skip of one
        title, the later label counts. Rows whose verdict does not count come first.
        """
        rows: dict[str, list[str]] = {key: [] for key in keys}
        counted = pa.concat_tables([self.films, self.verdicts])
        order = ["updated_at"] if "updated_at" in counted.column_names else []
        counted = counted.sort_by([(n, "ascending") for n in (*order, self.source.layout.key)])
        in_order = counted[self.source.layout.key].to_pylist()
        for row_key in (*(self.aside_of.keys() - set(in_order)), *in_order):
            if (title_key := self.title_of_row(row_key)) in rows:
                rows[title_key].append(row_key)
        return rows

    def title_of_row(self, row_key: str) -> str | None:
        """Return the key of the title that a row is a release of, even if it is set aside."""
        return self.title_of.get(row_key) or self.aside_of.get(row_key)

    def label(self, key: str) -> str:
        """Return the title's label and who gave it, as text."""
        return label_words(self.titles[key]["label"], self.titles[key]["label_source"])

    def labels_after(self, changes: Iterable[RowChange], *, at_once: bool) -> dict[str, str]:
        """Return every title's label, as text, as it would be once the changes are written.

        Args:
            changes: in the order in which they are written.
            at_once: the table's trigger gives all rows of a transaction one `updated_at`, as
                `now()` does; otherwise each row gets the time of its writing, as from
                `clock_timestamp()`.
        """
        written = {
            row.key: dict[str, Any](row.now)
            | {"updated_at": _LATEST + timedelta(seconds=0 if at_once else place)}
            for place, row in enumerate(changes)
        }

        def after(rows: pa.Table) -> pa.Table:
            keys = rows[self.source.layout.key].to_pylist()
            at = {i: written[key] for i, key in enumerate(keys) if key in written}
            for name in {name for now in at.values() for name in now} & set(rows.column_names):
                values = rows[name].to_pylist()
                for i, now in at.items():
                    values[i] = now.get(name, values[i])
                index, field = rows.schema.get_field_index(name), rows.schema.field(name)
                rows = rows.set_column(index, field, pa.array(values, field.type))
            return rows

        source = self.source
        made = titles(after(self.films), source.layout, after(self.verdicts), source.by_model)
        labels = zip(*(made[c].to_pylist() for c in ("label", "label_source")), strict=True)
        return {
            key: label_words(*label)
            for key, label in zip(made["key"].to_pylist(), labels, strict=True)
        }

    def change(self, title_key: str, row_key: str, was: Values, now: Values) -> RowChange:
        """Describe the change of one of a title's rows."""
        title = self.titles[title_key]
        name, year = title["media_title"], title["release_year"]
        return RowChange(row_key, name, year, title["imdb_id"], was, dict(now))

    def title(
        self, key: str, releases: int, becomes: str, rows: Sequence[RowChange], note: str = ""
    ) -> TitleChange:
        """Describe the change of a title."""
        title = self.titles[key]
        return TitleChange(
            key=key,
            title=title["media_title"],
            year=title["release_year"],
            imdb_id=title["imdb_id"],
            releases=releases,
            label=self.label(key),
            becomes=becomes,
            rows=tuple(rows),
            note="; ".join(filter(None, (fetched_note(rows), note))),
        )


def read_library(connection: psycopg.Connection, source: SourceTable) -> Library:
    """Read what titles are made from, in the same way as `raw_media` and `titles`."""
    known = {c.name for c in source.known} - _NOT_READ
    part = replace(source, columns={n: k for n, k in source.columns.items() if n in known})
    with tempfile.TemporaryDirectory(prefix="atx-") as folder:
        path = Path(folder) / "library.parquet"
        extract(connection, part, path, {})
        read = pq.read_table(path, memory_map=False)
        found = sort_rows(read, source.layout)
        aside = quarantine_table(path, found, source.layout).to_pylist()
    rows = found.rows
    if aside and FILM not in rows["media_type"].unique().to_pylist():
        raise AtxError(
            f"no film of atp.{source.layout.table} can be used, {len(aside):,} of {found.read:,} "
            f"rows are set aside ({next(iter(found.reasons))}): fix them first"
        )
    is_film = pc.equal(rows["media_type"], FILM)
    films = rows.filter(is_film)
    made = titles(rows, source.layout, found.verdicts, source.by_model)
    described = made.select(
        ["key", "imdb_id", "media_title", "release_year", "label", "label_source"]
    )
    by_key = {title["key"]: title for title in described.to_pylist()}
    return Library(
        source,
        films,
        rows.filter(pc.invert(is_film)),
        found.verdicts,
        dict(
            zip(
                films[source.layout.key].to_pylist(),
                title_keys(films, source.layout).to_pylist(),
                strict=True,
            )
        ),
        by_key,
        {
            str(row[name]): "; ".join(row["reasons"])
            for row in aside
            for name in ("imdb_id", "source_key")
            if row[name]
        },
        _of_titles(aside, by_key),
    )


def _of_titles(aside: Iterable[dict[str, Any]], by_key: Container[str]) -> dict[str, str]:
    """Map the keys of rows set aside to titles, except keys that several rows share."""
    rows = [row for row in aside if row["source_key"]]
    times = Counter(row["source_key"] for row in rows)
    return {
        row["source_key"]: row["imdb_id"]
        for row in rows
        if row["imdb_id"] in by_key and times[row["source_key"]] == 1
    }


def chosen(library: Library, ids: Sequence[str]) -> list[str]:
    """Return the keys of the titles that the ids name, each once, in the order given.

    Raises:
        AtxError: some name no title; the line lists all of them.
    """
    source = library.source
    columns = dict.fromkeys((source.layout.key, "imdb_id"))
    other = {
        row[name]: row["media_type"]
        for row in library.others.select([*columns, "media_type"]).to_pylist()
        for name in columns
    }
    media = source.layout.name == "media"
    keys, faults = dict[str, None](), dict[str, list[str]]()
    for given in ids:
        is_hash, is_id = _matches(_HASH, given.lower()), _matches(IMDB_ID, given)
        key = given if is_id else library.title_of_row(given)
        if is_hash and not media:
            faults.setdefault("hashes, which this table does not use", []).append(given)
        elif given in library.set_aside and key not in library.titles:
            reason = f"set aside: {library.set_aside[given]}"
            faults.setdefault(f"{reason} (fix it in the database first)", []).append(given)
        elif not (is_hash or is_id):
            faults.setdefault("malformed", []).append(repr(given))
        elif key in library.titles:
            keys[key] = None
        elif given in other:
            faults.setdefault("not a film", []).append(f"{given} ({other[given]})")
        else:
            faults.setdefault("unknown", []).append(given)
    if faults:
        wrong = sum(map(len, faults.values()))
        reasons = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in faults.items())
        raise AtxError(
            f"{wrong:,} of {len(ids):,} ids cannot be used, and nothing was written ({reasons}): "
            f"{_advice(source)}"
        )
    return list(keys)

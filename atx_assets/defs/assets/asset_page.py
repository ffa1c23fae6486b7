"""What every asset shows on its page: columns, lineage, previews. Not here: any asset."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets.schemas import MEDIA, SCORED_RESULTS, TITLES, Column
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

OWNERS = ["team:atx"]

#: For assets that people read: the nightly run rebuilds them, changed or not.
FRESHNESS = dg.FreshnessPolicy.time_window(
    warn_window=timedelta(hours=26), fail_window=timedelta(hours=50)
)
PREVIEW_ROWS = 8

# What the UI turns into a link, in upper or lower case; a zero-width joiner after it prevents that.
_LINKED = re.compile(r"https?:(?=//)|www(?=\.)|(?<=\w)@(?=\w)", re.IGNORECASE)
#: The characters that have a meaning in Markdown.
_MARKS = frozenset("&<>|[]!*_`\\~")

#: The number of characters of Markdown from which the UI hides a value behind a link.
_HIDDEN_FROM = 1000

# The groups, in the order in which data passes through them.
DATABASE, TRAINING, MODEL, RESULTS = "database", "training", "model", "results"


class Clock:
    """How long an asset takes, for the plot on its page."""

    def __init__(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the clock was created."""
        return round(time.monotonic() - self._began, 2)


def table_schema(columns: Iterable[Column]) -> dg.TableSchema:
    """Return the columns in the form that the UI shows."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                c.type,
                c.meaning,
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
            )
            for c in columns
        ]
    )


def lineage(sources: Mapping[str, Sequence[tuple[dg.AssetKey, str]]]) -> dg.TableColumnLineage:
    """Return the lineage of columns; each has pairs of upstream asset and column."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=key, column_name=name) for key, name in parents]
            for column, parents in sources.items()
        }
    )


def from_scores(columns: Iterable[Column]) -> dg.TableColumnLineage:
    """Return the lineage of records about films: their scores, or otherwise the titles."""
    scores, titles = dg.AssetKey("scored_results"), dg.AssetKey("titles")
    scored = {c.name for c in SCORED_RESULTS}
    given = {c.name for c in (*MEDIA, *TITLES)}
    parents: dict[str, list[tuple[dg.AssetKey, str]]] = {
        "because": [(scores, "probability"), (scores, "actual")],
        "task": [(scores, "actual")],
        "rank": [(scores, "probability"), (scores, "actual")],
        "doubted_at": [(dg.AssetKey("tuned_classifier"), "probability")],
        "about_release": [(titles, "label_reason")],
        "beyond_threshold": [(scores, "probability")],
        "why": [(scores, "probability")],
        "nearest": [(scores, "probability"), (scores, "actual")],
        "link": [(scores, "imdb_id")],
    }
    for name in (c.name for c in columns):
        if name in scored or name in given:
            parents[name] = [(scores if name in scored else titles, name)]
    wanted = {c.name for c in columns}
    return lineage({name: pairs for name, pairs in parents.items() if name in wanted})


def from_titles(columns: Iterable[str]) -> dict[str, list[tuple[dg.AssetKey, str]]]:
    """Return the parents of columns that come from the titles under the same name."""
    return {name: [(dg.AssetKey("titles"), name)] for name in columns}


def preview(
    rows: pa.Table | Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    limit: int = PREVIEW_ROWS,
) -> Any:
    """Return a table of the first rows, as many as the page shows without a link."""
    if not isinstance(rows, Sequence):
        present = [c for c in columns if c in rows.schema.names]
        rows, columns = rows.select(present).slice(0, limit).to_pylist(), present
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows[:limit]:
        line = "| " + " | ".join(_cell(row.get(c)) for c in columns) + " |"
        if len(lines) > 2 and sum(map(len, lines)) + len(lines) + len(line) >= _HIDDEN_FROM:
            break
        lines.append(line)
    return dg.MetadataValue.md("\n".join(lines))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A title may hold anything: it must not become a cell border, a tag or a linked picture.
    text = _LINKED.sub("\\g<0>\u2060", " ".join(str(value).split())[:80])
    return "".join(f"&#{ord(c)};" if c in _MARKS else c for c in text)


def figure(settings: Settings, name: str, picture: bytes, now: str = "now") -> dict[str, Any]:
    """Return a figure for an asset's page: as it is now, and as it was when the asset was made.

    The first is shown directly; it is one of the report's, which `atx up` serves. The second is
    part of the page itself, which hides it behind a link.

    Args:
        settings: say where the report is served.
        name: of the report's figure, such as `calibration`.
        picture: PNG.
        now: the name of the first.
    """
    address, words = f"{report_address(settings)}report_{name}.png", name.replace("_", " and ")
    return {
        f"{words}, {now}": dg.MetadataValue.md(f"![{words}]({address})"),
        f"{words}, of this run": image(picture),
    }


def report_address(settings: Settings) -> str:
    """Return the report's address in `atx up`: a browser follows no link from a page to a file."""
    return f"http://{settings.web_host}:{settings.report_port}/"


def image(picture: bytes) -> dg.MarkdownMetadataValue:
    """Return a PNG in the form that the UI shows."""
    return dg.MetadataValue.md(f"![](data:image/png;base64,{base64.b64encode(picture).decode()})")

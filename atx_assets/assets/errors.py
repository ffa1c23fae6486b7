"""The mistakes of the model, as records that a person can read: two lists, the surest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.training import read_titles
from atx_assets.errors import AtxError
from atx_assets.resources.bundle import Bundle
from atx_assets.resources.bundles import Bundles
from atx_assets.resources.files import DataFiles

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_NUMBERS = ("release_year", "rt_score", "metascore", "imdb_rating", "imdb_votes")


@dataclass(frozen=True)
class Scored:
    """Films with their scores, row by row, and the bundle that gave them."""

    titles: pa.Table
    results: pa.Table
    bundle: Bundle


def read_scored(files: DataFiles) -> Scored:
    """Read the scores, and find the films and the bundle that they belong to.

    Raises:
        AtxError: the scores are of other films than those extracted last.
    """
    import pyarrow.compute as pc

    titles, _ = read_titles(files)
    results = files.read_table("scored_results")
    place = pc.index_in(results["key"], titles["key"])
    same = story.snapshot_of(results) == story.snapshot_of(titles)
    if not same or place.null_count or results.num_rows != titles.num_rows:
        raise AtxError(
            "scored_results was not made from the films that raw_media now holds: materialise "
            "scored_results again, or run the job score"
        )
    bundle = Bundles(files).version(results["model_version"][0].as_py())
    return Scored(titles.take(place), results, bundle)


def records_of(scored: Scored, rows: np.ndarray[Any, Any]) -> list[dict[str, Any]]:
    """Describe films so that a person can judge them.

    Args:
        scored: the films.
        rows: which to describe, in the order wanted.

    Returns:
        For each, the fields of the original's lists, who gave the label, and why the model
        thought what it thought.
    """
    from atx_assets.learning.reasons import reasons

    wanted, scores = scored.titles.take(rows), scored.results.take(rows).to_pylist()
    encoding = scored.bundle.encoding
    numbers = {name: encoding.known_numbers(wanted, name) for name in _NUMBERS}
    why = reasons(wanted, scored.bundle)
    plain = wanted.select(["hash", "original_title", "label_reason"]).to_pylist()
    return [
        {
            "media_title": score["media_title"],
            **{name: _number(values[at]) for name, values in numbers.items()},
            "predicted": score["predicted"],
            "actual": score["actual"],
            "cm_value": score["cm_value"],
            "probability": score["probability"],
            "label_source": score["label_source"],
            "label_reason": plain[at]["label_reason"],
            "why": why[at],
            "imdb_id": score["imdb_id"],
            "original_title": plain[at]["original_title"],
            "hash": plain[at]["hash"],
            "key": score["key"],
        }
        for at, score in enumerate(scores)
    ]


def _number(value: float) -> float | int | None:
    if value != value:
        return None
    return int(value) if value == int(value) else float(value)


def _errors(
    files: DataFiles, asset: str, kind: str, surest_first: str
) -> dg.MaterializeResult[None]:
    import numpy as np
    import pyarrow.compute as pc

    scored = read_scored(files)
    results = scored.results
    wrong = np.flatnonzero(pc.equal(results["cm_value"], kind).fill_null(False).to_numpy())
    probability = results["probability"].to_numpy()[wrong]
    # Ties by key, which is the order of the rows.
    order = np.argsort(-probability if surest_first == "descending" else probability, kind="stable")
    records = records_of(scored, wrong[order])
    path = files.write_records(asset, records)
    by_person = sum(r["label_source"] == "human" for r in records)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(records),
            "mistakes": len(records),
            "against a person's label": by_person,
            "against a rule's label": len(records) - by_person,
            "model version": scored.bundle.version,
            "preview": story.preview(
                records, ["media_title", "release_year", "probability", "label_source", "why"]
            ),
            "dagster/column_lineage": story.from_scores(schemas.ERROR_RECORDS),
            "file": dg.MetadataValue.path(str(path)),
            **story.fingerprint_metadata(story.snapshot_of(results)),
        }
    )


@dg.asset(
    deps=["raw_media", "scored_results"],
    group_name=story.RESULTS,
    kinds={"json"},
    owners=story.OWNERS,
    freshness_policy=story.FRESHNESS,
    code_version="1",
    metadata={"dagster/column_schema": story.table_schema(schemas.ERROR_RECORDS)},
)
def false_positives(files: DataFiles) -> dg.MaterializeResult[None]:
    """Films that the model would keep and the label skips, the surest mistake first."""
    return _errors(files, "false_positives", "fp", "descending")


@dg.asset(
    deps=["raw_media", "scored_results"],
    group_name=story.RESULTS,
    kinds={"json"},
    owners=story.OWNERS,
    freshness_policy=story.FRESHNESS,
    code_version="1",
    metadata={"dagster/column_schema": story.table_schema(schemas.ERROR_RECORDS)},
)
def false_negatives(files: DataFiles) -> dg.MaterializeResult[None]:
    """Films that the model would skip and the label keeps, the surest mistake first."""
    return _errors(files, "false_negatives", "fn", "ascending")

"""The report: one page to look at. Not here: its figures (`figures.py`)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.quality_tables import measure_tables
from atx_assets.assets.records import Scored, read_scored, records_of
from atx_assets.resources.files import DataFiles
from atx_assets.sample import MADE_UP, is_sample

if TYPE_CHECKING:
    import numpy as np

RECOMMENDED = 20


@dg.asset(
    deps=[
        "raw_media",
        "tuned_classifier",
        "scored_results",
        "false_positives",
        "false_negatives",
        "review_queue",
    ],
    group_name=story.RESULTS,
    kinds={"matplotlib", "html"},
    owners=story.OWNERS,
    freshness_policy=story.FRESHNESS,
    code_version="1",
    metadata={"dagster/column_schema": story.table_schema(schemas.ERROR_RECORDS)},
)
def analysis_report(files: DataFiles) -> dg.MaterializeResult[None]:
    """One page to look at: how good the model is, what it keeps, where it errs."""
    from importlib.resources import files as package_files

    from jinja2 import Environment

    from atx_assets.assets import figures

    scored = read_scored(files)
    pictures = {
        "violins": figures.violins(scored),
        "correlations": figures.correlations(scored),
    }
    for name, picture in pictures.items():
        with files.replacing(files.folder / f"report_{name}.png") as beside:
            beside.write_bytes(picture)
    recommended = records_of(scored, surest_keeps(scored, RECOMMENDED))
    # Titles come from strangers: everything that is put into the page is escaped.
    template = Environment(autoescape=True).from_string(
        package_files("atx_assets.assets").joinpath("report.html").read_text(encoding="utf-8")
    )
    page = template.render(
        numbers=list(figures.NUMBERS.values()),
        pictures={n: base64.b64encode(p).decode() for n, p in pictures.items()},
        false_positives=files.read_records("false_positives"),
        false_negatives=files.read_records("false_negatives"),
        queue=files.read_records("review_queue"),
        recommended=recommended,
        note=MADE_UP if is_sample(scored.titles["hash"]) else "",
        **_figures(scored),
    )
    path = files.write_text("analysis_report", page)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": scored.results.num_rows,
            "preview": story.preview(
                recommended, ["media_title", "release_year", "probability", "why"]
            ),
            "the preview shows": "the surest keeps among unjudged films",
            "dagster/column_lineage": story.from_scores(schemas.ERROR_RECORDS),
            "report": dg.MetadataValue.url(path.as_uri()),
            "bytes": path.stat().st_size,
            "numbers by prediction": story.image(pictures["violins"]),
            "correlations": story.image(pictures["correlations"]),
            **story.fingerprint_metadata(story.snapshot_of(scored.results)),
        }
    )


def surest_keeps(scored: Scored, number: int) -> np.ndarray[Any, Any]:
    """Return the rows of the surest predicted keeps among unjudged films, the surest first."""
    import numpy as np

    results = scored.results
    unjudged = results["label_source"].is_null().to_numpy()
    wanted = np.flatnonzero(unjudged & results["predicted"].to_numpy())
    order = np.argsort(-results["probability"].to_numpy()[wanted], kind="stable")
    return wanted[order][:number]


def _figures(scored: Scored) -> dict[str, Any]:
    import pyarrow.compute as pc

    results, about = scored.results, scored.bundle.about
    counts = {v["values"]: v["counts"] for v in pc.value_counts(results["cm_value"]).to_pylist()}
    sources = pc.value_counts(results["label_source"]).to_pylist()
    return {
        "version": scored.bundle.version,
        "threshold": scored.bundle.threshold,
        "quality": about["quality"],
        "operating_point": about["operating_point"],
        "tables": [*measure_tables(about["quality"], scored.bundle.judged)],
        "judged": scored.bundle.judged,
        "hyperparameters": about["hyperparameters"],
        "learned_from": about["learned_from"],
        "films": results.num_rows,
        "confusion": {name: counts.get(name, 0) for name in ("tp", "fp", "fn", "tn")},
        "labels": {v["values"]: v["counts"] for v in sources if v["values"]},
    }

"""What `atx run` and `atx demo` say of the results, read from the files. Not here: the results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from atx_assets.assets.quality_tables import (
    calibration_table,
    measure_tables,
    nested_mark,
    plain,
    shown,
    threshold_table,
)
from atx_assets.resources.bundle import Bundle
from atx_assets.resources.bundles import Bundles
from atx_assets.resources.files import DataFiles
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

RECOMMENDED = 5


def summary(settings: Settings, *, figures: bool = False) -> Iterator[str]:
    """Yield, line by line, what was found and where it is; nothing before the first scoring.

    Args:
        settings: of the home.
        figures: whether to tell all that was measured, or the headline alone.
    """
    files = DataFiles(directory=str(settings.data_dir))
    if not files.path("scored_results").exists():
        return
    results = files.read_table("scored_results")
    bundles = Bundles(files)
    bundle = bundles.version(results["model_version"][0].as_py())

    yield ""
    yield from _films(results, bundle)
    yield ""
    yield from _figures(bundle) if figures else _headline(bundle)
    yield from _waiting(bundles, bundle)
    yield ""
    yield from _verdicts(results, bundle)
    yield ""
    yield f"  report  {files.path('analysis_report')}"
    yield f"  files   {settings.data_dir}"


def _films(results: pa.Table, bundle: Bundle) -> Iterator[str]:
    learned = bundle.about["learned_from"]
    unjudged = results["label_source"].null_count
    yield f"  films read and scored  {results.num_rows:>8,}"
    yield f"  judged, learned from   {learned['rows']:>8,}   ({learned['keeps']:,} keeps)"
    yield f"  unjudged               {unjudged:>8,}"


def _headline(bundle: Bundle) -> Iterator[str]:
    quality = bundle.about["quality"]
    yield "  PR-AUC, each film scored by models that had not seen its verdict"
    model = f"the model (version {bundle.version}), nested{nested_mark(quality)}"
    rule = quality["rule"]["all"]["pr_auc"]
    yield f"    {model:<40}{shown(quality['nested']['pr_auc'])}"
    yield f"    {'best single-feature rule':<40}{shown(rule)}   ({quality['the_rule']})"
    yield f"    {'always skip':<40}{shown(quality['always_skip']['all']['pr_auc'])}"


def _figures(bundle: Bundle) -> Iterator[str]:
    about = bundle.about
    quality = about["quality"]
    combination = ", ".join(f"{k} {v:g}" for k, v in about["hyperparameters"].items())
    yield f"  version {bundle.version}: {combination}"
    yield f"  best rule: {quality['the_rule']}"
    yield "  nested: hyperparameters and threshold chosen without the fold measured, 5 folds"
    yield "  elsewhere: mean ± standard deviation of 25 folds; in a part of the labels, of 5 seeds"
    for heading, table in measure_tables(quality, bundle.judged):
        yield ""
        yield from _table(heading, table)
    yield ""
    yield from _table("thresholds, out of fold", threshold_table(quality))
    yield ""
    error = shown(quality["calibration"]["error"])
    yield from _table(f"calibration, off by {error} on average", calibration_table(quality))


def _table(heading: str, table: Any) -> Iterator[str]:
    yield f"  {heading}"
    yield from (f"    {line}" for line in plain(table))


def _waiting(bundles: Bundles, bundle: Bundle) -> Iterator[str]:
    """Tell of a model that was trained last and did not become champion."""
    challenger = bundles.challenger()
    if challenger:
        yield ""
        yield f"  version {challenger.version} is challenger, version {bundle.version} scores:"
        yield f"    {challenger.judged['reason']}"


def _verdicts(results: pa.Table, bundle: Bundle) -> Iterator[str]:
    import pyarrow.compute as pc

    outcomes = {v["values"]: v["counts"] for v in pc.value_counts(results["cm_value"]).to_pylist()}
    unjudged = results.filter(results["label_source"].is_null())
    keeps = unjudged.filter(unjudged["predicted"])
    best = keeps.sort_by([("probability", "descending"), ("key", "ascending")])
    yield f"  false positives        {outcomes.get('fp', 0):>8,}   predicted keep, labelled skip"
    yield f"  false negatives        {outcomes.get('fn', 0):>8,}   predicted skip, labelled keep"
    yield ""
    yield f"  unjudged films predicted keep (from {bundle.threshold:.0%} on): {keeps.num_rows:,}"
    for film in best.slice(0, RECOMMENDED).to_pylist():
        year = film["release_year"] or "?"
        yield f"    {film['probability']:4.0%}  {film['media_title']} ({year})"

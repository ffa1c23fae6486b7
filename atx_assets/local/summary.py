"""What `atx run` and `atx demo` say of the results, read from the files. Not here: the results."""

from __future__ import annotations

from collections.abc import Iterator

from atx_assets.resources.bundles import Bundles
from atx_assets.resources.files import DataFiles
from atx_assets.settings import Settings

RECOMMENDED = 5


def summary(settings: Settings) -> Iterator[str]:
    """Yield, line by line, what was found and where it is; nothing before the first scoring."""
    import pyarrow.compute as pc

    files = DataFiles(directory=str(settings.data_dir))
    if not files.path("scored_results").exists():
        return
    results = files.read_table("scored_results")
    bundle = Bundles(files).version(results["model_version"][0].as_py())
    quality, learned = bundle.about["quality"], bundle.about["learned_from"]
    unjudged = results.filter(results["label_source"].is_null())
    keeps = unjudged.filter(unjudged["predicted"])
    outcomes = {v["values"]: v["counts"] for v in pc.value_counts(results["cm_value"]).to_pylist()}
    rule = quality["rule_pr_auc"]
    best = keeps.sort_by([("probability", "descending"), ("key", "ascending")])

    yield ""
    yield f"  films read and scored  {results.num_rows:>8,}"
    yield f"  judged, learned from   {learned['rows']:>8,}   ({learned['keeps']:,} keeps)"
    yield f"  unjudged               {unjudged.num_rows:>8,}"
    yield ""
    yield "  PR-AUC, each film scored by models that had not seen its verdict"
    yield f"    the model (version {bundle.version})".ljust(33) + _spread(quality["pr_auc"])
    name = rule["feature"].removesuffix("_norm")
    yield "    best single-feature rule".ljust(33) + _spread(rule) + f"   ({name} alone)"
    yield ""
    yield f"  false positives        {outcomes.get('fp', 0):>8,}   predicted keep, labelled skip"
    yield f"  false negatives        {outcomes.get('fn', 0):>8,}   predicted skip, labelled keep"
    yield ""
    yield f"  unjudged films predicted keep (from {bundle.threshold:.0%} on): {keeps.num_rows:,}"
    for film in best.slice(0, RECOMMENDED).to_pylist():
        year = film["release_year"] or "?"
        yield f"    {film['probability']:4.0%}  {film['media_title']} ({year})"
    yield ""
    yield f"  report  {files.path('analysis_report')}"
    yield f"  files   {settings.data_dir}"


def _spread(measure: dict[str, float]) -> str:
    return f"{measure['mean']:.3f} ± {measure['std']:.3f} a fold"

"""The results that `atx run` and `atx demo` print, read from the files. Not here: their making."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles
from atx_assets.models.scored import counts, unlabelled_keeps
from atx_assets.plain_text import plain as printable
from atx_assets.report.quality_tables import (
    calibration_table,
    measure_tables,
    nested_mark,
    plain,
    shown,
    threshold_table,
)
from atx_assets.settings import Settings
from atx_assets.sources.extracted import set_aside
from atx_assets.storage.data_folder import DataFolder

RECOMMENDED = 5


def findings(settings: Settings) -> dict[str, Any] | None:
    """Return the results and their quality; None before the first scoring.

    Returns:
        Counts of films, labels, rows set aside and mistakes; the version that scored, its place
        and threshold; PR-AUC (mean and std over folds) and that of the baselines; the unlabelled
        films most likely to be keeps; where report and files are.
    """
    files = DataFolder(settings.data_dir)
    if not files.path("scored_results").exists():
        return None
    results = files.read_table("scored_results")
    bundles = Bundles(files)
    bundle = bundles.version(results["model_version"][0].as_py())
    quality, learned = bundle.about["quality"], bundle.about["learned_from"]
    outcomes = counts(results["cm_value"])
    challenger = bundles.challenger()
    keeps = results.take(unlabelled_keeps(results))
    report = files.path("analysis_report")
    quarantined, read = set_aside(files)
    return {
        "films": results.num_rows,
        "labelled": learned["rows"],
        "keeps": learned["keeps"],
        "unlabelled": results["label_source"].null_count,
        "set_aside": quarantined,
        "rows_read": read,
        "version": bundle.version,
        "place": "champion" if bundles.place().version == bundle.version else "kept",
        "made": bundle.made.isoformat(" ", "seconds"),
        "challenger": challenger
        and {"version": challenger.version, "reason": challenger.judged["reason"]},
        "threshold": bundle.threshold,
        "nested_pr_auc": quality["nested"]["pr_auc"],
        "rule": {"name": quality["the_rule"], "pr_auc": quality["rule"]["all"]["pr_auc"]},
        "always_skip": {"pr_auc": quality["always_skip"]["all"]["pr_auc"]},
        "false_positives": outcomes.get("fp", 0),
        "false_negatives": outcomes.get("fn", 0),
        "unlabelled_keeps": keeps.num_rows,
        "recommended": keeps.slice(0, RECOMMENDED)
        .select(["media_title", "release_year", "probability", "imdb_id", "key"])
        .to_pylist(),
        "report": str(report) if report.exists() else None,
        "data": str(settings.data_dir),
    }


def summary(
    settings: Settings, *, figures: bool = False, usual_data: Path | None = None
) -> Iterator[str]:
    """Yield the lines with the results and where they are; none before the first scoring.

    Args:
        settings: of the home.
        figures: yield all measured figures, not only the headline.
        usual_data: the data folder that a plain command reads, if it is another one, as after a
            demo in a home of its own.
    """
    found = findings(settings)
    if found is None:
        return
    bundle = Bundles(DataFolder(Path(found["data"]))).version(found["version"])
    yield ""
    yield from _films(found)
    yield ""
    yield from _figures(bundle) if figures else _headline(found, bundle)
    yield from _waiting(found)
    yield ""
    yield from _verdicts(found)
    yield ""
    yield f"  report  {found['report'] or 'none yet: `atx run` makes it'}"
    yield f"  files   {found['data']}"
    yield from _next(found, usual_data or settings.data_dir)


def _films(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"  films read and scored  {found['films']:>8,}"
    yield f"  labelled, learned from {found['labelled']:>8,}   ({found['keeps']:,} keeps)"
    yield f"  unlabelled             {found['unlabelled']:>8,}"
    if found["set_aside"]:
        yield (
            f"  rows set aside         {found['set_aside']:>8,}   of {found['rows_read']:,} read: "
            "`atx show quarantine` says why"
        )


def _headline(found: Mapping[str, Any], bundle: Bundle) -> Iterator[str]:
    model = f"the model (version {found['version']}), nested{nested_mark(bundle.about['quality'])}"
    rule = found["rule"]
    yield "  PR-AUC, each film scored by models that had not seen its label; 1 is perfect"
    yield f"    {model:<39} {shown(found['nested_pr_auc'])}"
    yield f"    {'best single-feature rule':<40}{shown(rule['pr_auc'])}   ({rule['name']})"
    yield f"    {'always skip':<40}{shown(found['always_skip']['pr_auc'])}"
    yield ""
    place = "champion" if found["place"] == "champion" else "no longer champion"
    yield (
        f"  version {found['version']} scores ({place}, made {found['made'][:16]}): "
        f"a keep from {found['threshold']:.0%} on"
    )


def _figures(bundle: Bundle) -> Iterator[str]:
    about = bundle.about
    quality = about["quality"]
    combination = ", ".join(f"{k} {v:g}" for k, v in about["hyperparameters"].items())
    yield f"  version {bundle.version}: {combination}"
    yield f"  best rule: {quality['the_rule']}"
    yield "  nested: hyperparameters and threshold chosen without the fold measured, 5 folds"
    yield "  elsewhere: mean ± standard deviation of 25 folds; of 5 seeds for a part of the labels"
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


def _waiting(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines about the challenger: the last trained model, if it did not become champion."""
    challenger = found["challenger"]
    if challenger:
        yield ""
        yield f"  version {challenger['version']} is challenger, version {found['version']} scores:"
        yield f"    {challenger['reason']}"


def _verdicts(found: Mapping[str, Any]) -> Iterator[str]:
    fp, fn, keeps = found["false_positives"], found["false_negatives"], found["unlabelled_keeps"]
    yield f"  false positives        {fp:>8,}   predicted keep, labelled skip"
    yield f"  false negatives        {fn:>8,}   predicted skip, labelled keep"
    yield ""
    yield f"  unlabelled films predicted keep (from {found['threshold']:.0%} on): {keeps:,}"
    for film in found["recommended"]:
        year, title = film["release_year"] or "?", printable(film["media_title"])
        yield f"    {film['probability']:4.0%}  {title} ({year})"


def _next(found: Mapping[str, Any], usual_data: Path) -> Iterator[str]:
    """Yield the next commands, as they can be typed in this shell."""
    program = "atx" if shutil.which("atx") else os.path.relpath(Path(sys.executable).parent / "atx")
    if Path(found["data"]).resolve() != usual_data.resolve():  # a demo in a home of its own
        program = f"ATX_DATA_DIR={shlex.quote(found['data'])} {program}"
    yield f"  next    {program} show queue           what to label, or label again"
    if film := next(iter(found["recommended"]), None):
        yield f"          {program} show recommendations what to watch"
        key = printable(shlex.quote(film["imdb_id"] or film["key"]))
        yield f"          {program} explain {key}    why"

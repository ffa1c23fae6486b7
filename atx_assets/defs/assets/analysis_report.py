"""The report: one page to look at.

Not here: what it shows (`report/figures.py`, `report/shares.py`, ...).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files as package_files
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets.defs.assets import asset_page
from atx_assets.defs.assets.review_queue import MOST
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles
from atx_assets.models.scored import counts
from atx_assets.report.quality_tables import (
    headline_table,
    markdown,
    measure_tables,
    threshold_table,
)
from atx_assets.report.records import Scored, link, read_scored
from atx_assets.report.report_figures import Drawn, report_figures
from atx_assets.report.shares import KINDS, LEAST, release_skips, weak_slices
from atx_assets.report.since_last import SinceLast, since_last
from atx_assets.sample import MADE_UP, is_sample
from atx_assets.schemas import Column
from atx_assets.sources.extracted import fingerprint_metadata, snapshot_of, told_if_any

if TYPE_CHECKING:
    from atx_assets.learning.curves import Blind

#: Rows of a list in the page; the file of the list has them all.
MOST_ROWS = 500

_SECTION = "section"
#: What the page has, in its order: no table, but its parts are what people look for.
_PARTS = (
    Column("what changed since the last model", _SECTION, "labels, and films with another verdict"),
    Column(
        "what to label next", _SECTION, "doubtful labels, films it is unsure about, surest keeps"
    ),
    Column(
        "where it errs", _SECTION, "both kinds of mistakes with reasons, and parts where it is weak"
    ),
    Column("how good it is", _SECTION, "curves, thresholds, all measures and what they must beat"),
    Column(
        "what it goes by", _SECTION, "importance of features, and shares of keeps by genre, ..."
    ),
    Column("the films", _SECTION, "how numbers are distributed and correlated"),
)
_LINEAGE = {
    _PARTS[0].name: [(dg.AssetKey("tuned_classifier"), "probability")],
    _PARTS[1].name: [(dg.AssetKey("review_queue"), "because")],
    _PARTS[2].name: [
        (dg.AssetKey("false_positives"), "media_title"),
        (dg.AssetKey("false_negatives"), "media_title"),
    ],
    _PARTS[3].name: [(dg.AssetKey("tuned_classifier"), "probability")],
    _PARTS[4].name: [(dg.AssetKey("scored_results"), "predicted")],
    _PARTS[5].name: [(dg.AssetKey("scored_results"), "probability")],
}


@dg.asset(
    deps=[
        "titles",
        "quarantine",
        "tuned_classifier",
        "scored_results",
        "false_positives",
        "false_negatives",
        "review_queue",
    ],
    group_name=asset_page.RESULTS,
    kinds={"matplotlib", "html"},
    owners=asset_page.OWNERS,
    freshness_policy=asset_page.FRESHNESS,
    code_version="2",
    metadata={"dagster/column_schema": asset_page.table_schema(_PARTS)},
)
def analysis_report(
    current_settings: CurrentSettings, files: DataFiles
) -> dg.MaterializeResult[None]:
    """One page: how good the model is, where it errs, and what to label next."""
    clock = asset_page.Clock()
    settings = current_settings.read()
    scored = read_scored(files)
    blind = blind_of(scored)
    drawn = list(report_figures(scored, blind))
    shown_figures: dict[str, Any] = {}
    for name, picture in _pictures(scored, drawn).items():
        with files.replacing(files.folder / f"report_{name}.png") as beside:
            beside.write_bytes(picture)
        shown_figures |= asset_page.figure(settings, name, picture)
    path = files.write_text("analysis_report", _page(files, scored, drawn))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": scored.results.num_rows,
            "in short": _headline(scored.bundle),
            "preview": dg.MetadataValue.md(
                markdown(headline_table(scored.bundle.about["quality"]))
            ),
            "report": dg.MetadataValue.url(asset_page.report_address(settings)),
            "bytes": path.stat().st_size,
            "seconds": clock.seconds,
            **shown_figures,
            "file": dg.MetadataValue.path(str(path)),
            "dagster/column_lineage": asset_page.lineage(_LINEAGE),
            **fingerprint_metadata(snapshot_of(scored.results)),
        }
    )


def blind_of(scored: Scored) -> Blind:
    """Return what the models of the folds say of the films that they were kept from.

    Of those that are still there, with the labels that were learned from.
    """
    import numpy as np
    import pyarrow.compute as pc

    from atx_assets.learning.curves import Blind
    from atx_assets.learning.evaluation import SEEDS
    from atx_assets.learning.scoring import blind_answers

    learned = scored.bundle.learned_from
    known = scored.titles.filter(scored.titles["learned_key"].is_valid())
    _, answers = blind_answers(known, scored.bundle)
    then = learned.take(pc.index_in(known["learned_key"], learned["key"].combine_chunks()))
    return Blind(
        then["label"].to_numpy().astype(int),
        answers.astype(float),
        np.stack([then[f"seed{seed}"].to_numpy() for seed in SEEDS]),
    )


def _pictures(scored: Scored, drawn: Sequence[Drawn]) -> dict[str, bytes]:
    """Save the page's figures as PNG, too; of the numbers one that has the original's."""
    from atx_assets.report.drawing import png
    from atx_assets.report.figures import violins

    pictures = {one.name: png(one.figure) for one in drawn if one.number is None}
    return {**pictures, "violins": png(violins(scored))}


def _page(files: DataFiles, scored: Scored, drawn: Sequence[Drawn]) -> str:
    from jinja2 import Environment

    from atx_assets.report.drawing import svg

    # Titles come from strangers: everything that is put into the page is escaped, but for what the
    # template calls safe: our own script and style, and figures, whose texts matplotlib escapes.
    template = Environment(autoescape=True).from_string(_ours("report.html"))
    script = _ours("report.js")
    about, bundle = scored.bundle.about, scored.bundle
    since = since_last(files, scored)
    return template.render(
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        css=_ours("report.css"),
        link=link,
        note=MADE_UP if is_sample(scored.titles["hash"]) else "",
        headline=_headline(bundle),
        set_aside=told_if_any(files),
        cards=list(_cards(scored, since)),
        version=bundle.version,
        since=since,
        queue=_by_task(_read_list(files, "review_queue")),
        threshold=bundle.threshold,
        operating_point=about["operating_point"],
        confusion=_confusion(scored),
        false_positives=_shortened(_read_list(files, "false_positives")),
        false_negatives=_shortened(_read_list(files, "false_negatives")),
        release=release_skips(scored),
        weak=weak_slices(scored),
        least=LEAST,
        most_rows=MOST_ROWS,
        place=_place(files, bundle),
        tables=list(measure_tables(about["quality"], bundle.judged)),
        thresholds=threshold_table(about["quality"]),
        labels=_givers(scored),
        hyperparameters=about["hyperparameters"],
        kinds=KINDS,
        numbers=[one.number for one in drawn if one.number],
        figures={
            one.name: {"svg": svg(one.figure, one.name), "caption": one.caption, "alt": one.alt}
            for one in drawn
        },
    )


def _ours(name: str) -> str:
    return package_files("atx_assets.report").joinpath(name).read_text(encoding="utf-8")


def _headline(bundle: Bundle) -> str:
    """Say in a sentence what the model is worth to its owner."""
    quality = bundle.about["quality"]
    measured = {**quality["model"]["all"], **quality["nested"]}
    precision, recall = measured["precision"]["mean"], measured["recall"]["mean"]
    keeps = bundle.about["learned_from"]["keeps"] / bundle.about["learned_from"]["rows"]
    return (
        f"Of 100 films that it would keep, {precision * 100:.0f} are keeps; of 100 keeps it finds "
        f"{recall * 100:.0f}. Measured on labels that it had not seen; "
        f"{keeps * 100:.0f} of 100 labelled films are keeps."
    )


def _cards(scored: Scored, since: SinceLast | None) -> Iterator[dict[str, str]]:
    bundle = scored.bundle
    quality, learned = bundle.about["quality"], bundle.about["learned_from"]
    nested, rule = quality["nested"]["pr_auc"], quality["rule"]["all"]["pr_auc"]
    yield {
        "figure": f"{nested['mean']:.3f}",
        "what": f"PR-AUC, ± {nested['std']:.3f}",
        "more": "1 is perfect; "
        f"{quality['always_skip']['all']['pr_auc']['mean']:.3f} is what always skipping has",
    }
    yield {
        "figure": f"{rule['mean']:.3f}",
        "what": f"PR-AUC of the best rule, ± {rule['std']:.3f}",
        "more": str(quality["the_rule"]),
    }
    yield {
        "figure": f"{learned['rows']:,}",
        "what": "labels learned from",
        "more": f"{learned['keeps']:,} of them keeps",
    }
    yield {
        "figure": f"version {bundle.version}",
        "what": f"trained on {bundle.made.day} {bundle.made:%B %Y}",
        "more": _compared(bundle, since),
    }
    unlabelled = scored.results["label_source"].null_count
    yield {
        "figure": f"{scored.results.num_rows:,}",
        "what": "films scored",
        "more": f"{unlabelled:,} of them unlabelled",
    }


def _place(files: DataFiles, bundle: Bundle) -> str:
    """Say whether the version that scored is champion, and why."""
    champion, judged = Bundles(files).place().version, bundle.judged
    if champion != bundle.version:
        return f"Version {bundle.version} scored these films; version {champion} is champion now."
    if judged.get("promoted"):
        return f"Version {bundle.version} is champion: {judged['reason']}."
    return f"Version {bundle.version} is champion: a person promoted it."


def _compared(bundle: Bundle, since: SinceLast | None) -> str:
    judged = bundle.judged
    if "difference" in judged:
        return f"PR-AUC {judged['difference']:+.3f} against version {judged['champion']}"
    if since:
        return f"follows version {since.version}"
    return "the first model" if bundle.version == 1 else "no champion before it is kept"


def _read_list(files: DataFiles, asset: str) -> list[dict[str, Any]]:
    """Read a list, and make sure that it was made from the scores that there are.

    Raises:
        AtxError: it was made from others, or by an earlier atx.
    """
    files.require(asset, "scored_results")
    return files.read_records(asset)


def _by_task(queue: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {task: [record for record in queue if record["task"] == task] for task in MOST}


def _shortened(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep what is about the release apart, and the first rows of either."""
    film = [record for record in records if not record["about_release"]]
    release = [record for record in records if record["about_release"]]
    return {
        "film": film[:MOST_ROWS],
        "release": release[:MOST_ROWS],
        "more": max(len(film), len(release)) > MOST_ROWS,
    }


def _confusion(scored: Scored) -> dict[str, int]:
    outcomes = counts(scored.results["cm_value"])
    return {name: outcomes.get(name, 0) for name in ("tp", "fp", "fn", "tn")}


def _givers(scored: Scored) -> dict[str, int]:
    names = {"human": "a person", "rule": "a rule", "model": "a model (not learned from)"}
    found = counts(scored.results["label_source"])
    return {names[source]: number for source, number in found.items() if source}

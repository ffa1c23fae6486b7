"""The report: one page to look at. Not here: what it shows (`figures.py`, `shares.py`, ...)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from datetime import datetime
from importlib.resources import files as package_files
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.pictures import film_pictures, quality_pictures
from atx_assets.assets.quality_tables import measure_tables, shown, threshold_table
from atx_assets.assets.records import Scored, read_scored
from atx_assets.assets.shares import KINDS, LEAST, release_skips, share_kept, weak_slices
from atx_assets.assets.since_last import SinceLast, since_last
from atx_assets.resources.bundle import Bundle
from atx_assets.resources.files import DataFiles
from atx_assets.sample import MADE_UP, is_sample

if TYPE_CHECKING:
    from atx_assets.learning.curves import Blind

#: Rows of a list in the page; the file of the list has them all.
MOST_ROWS = 500


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
    code_version="2",
    metadata={"dagster/column_schema": story.table_schema(schemas.ERROR_RECORDS)},
)
def analysis_report(files: DataFiles) -> dg.MaterializeResult[None]:
    """One page to look at: how good the model is, where it errs, what to judge next."""
    clock = story.Clock()
    scored = read_scored(files)
    blind = blind_of(scored)
    shown_figures: dict[str, Any] = {}
    curves = quality_pictures(blind, scored.bundle.about["quality"])
    for name, picture in {**curves, **film_pictures(scored)}.items():
        with files.replacing(files.folder / f"report_{name}.png") as beside:
            beside.write_bytes(picture)
        shown_figures |= story.figure(name, picture)
    path = files.write_text("analysis_report", _page(files, scored, blind))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": scored.results.num_rows,
            "bytes": path.stat().st_size,
            "seconds": clock.seconds,
            **shown_figures,
            "report": dg.MetadataValue.url(story.report_address()),
            "file": dg.MetadataValue.path(str(path)),
            "dagster/column_lineage": story.from_scores(schemas.ERROR_RECORDS),
            **story.fingerprint_metadata(story.snapshot_of(scored.results)),
        }
    )


def blind_of(scored: Scored) -> Blind:
    """Return what the models of the folds say of the films that they were kept from.

    Of those that are still there under their key, with the labels that were learned from.
    """
    import pyarrow.compute as pc

    from atx_assets.learning.curves import Blind
    from atx_assets.learning.evaluation import SEEDS
    from atx_assets.learning.scoring import blind_answers

    learned = scored.bundle.learned_from
    known = scored.titles.filter(pc.is_in(scored.titles["key"], learned["key"].combine_chunks()))
    _, answers = blind_answers(known, scored.bundle)
    then = learned.take(pc.index_in(known["key"], learned["key"].combine_chunks()))
    return Blind(
        then["label"].to_numpy().astype(int),
        answers.astype(float),
        _stacked([then[f"seed{seed}"].to_numpy() for seed in SEEDS]),
    )


def _stacked(rows: list[Any]) -> Any:
    import numpy as np

    return np.stack(rows)


def _page(files: DataFiles, scored: Scored, blind: Blind) -> str:
    from jinja2 import Environment

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
        note=MADE_UP if is_sample(scored.titles["hash"]) else "",
        headline=_headline(bundle),
        cards=list(_cards(scored, since)),
        version=bundle.version,
        since=since,
        queue=_by_task(files.read_records("review_queue")),
        threshold=bundle.threshold,
        operating_point=about["operating_point"],
        confusion=_confusion(scored),
        false_positives=_shortened(files.read_records("false_positives")),
        false_negatives=_shortened(files.read_records("false_negatives")),
        release=release_skips(scored),
        weak=weak_slices(scored),
        least=LEAST,
        judged=bundle.judged,
        tables=list(measure_tables(about["quality"], bundle.judged)),
        thresholds=threshold_table(about["quality"]),
        labels=_givers(scored),
        hyperparameters=about["hyperparameters"],
        kinds=KINDS,
        numbers=_numbers(scored),
        figures={
            name: {"svg": svg, "caption": caption, "alt": alt}
            for name, svg, caption, alt in _figures(scored, blind)
        },
    )


def _ours(name: str) -> str:
    return package_files("atx_assets.assets").joinpath(name).read_text(encoding="utf-8")


def _numbers(scored: Scored) -> list[str]:
    from atx_assets.assets.figures import numbers_of

    return numbers_of(scored)


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
        "what": f"of the best rule, ± {rule['std']:.3f}",
        "more": str(quality["the_rule"]),
    }
    yield {
        "figure": f"{learned['rows']:,}",
        "what": "labels learned from",
        "more": f"{learned['keeps']:,} of them keeps",
    }
    made = datetime.fromtimestamp((bundle.folder / "bundle.json").stat().st_mtime).astimezone()
    yield {
        "figure": f"version {bundle.version}",
        "what": f"trained on {made.day} {made:%B %Y}",
        "more": _compared(bundle, since),
    }
    unjudged = scored.results["label_source"].null_count
    yield {
        "figure": f"{scored.results.num_rows:,}",
        "what": "films scored",
        "more": f"{unjudged:,} of them unjudged",
    }


def _compared(bundle: Bundle, since: SinceLast | None) -> str:
    judged = bundle.judged
    if "difference" in judged:
        return f"PR-AUC {judged['difference']:+.3f} against version {judged['champion']}"
    return f"follows version {since.version}" if since else "the first model"


def _by_task(queue: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    tasks: dict[str, list[dict[str, Any]]] = {"judge again": [], "judge": [], "recommended": []}
    for record in queue:
        tasks[record["task"]].append(record)
    return tasks


def _shortened(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Keep what is about the release apart, and the first rows of either."""
    film = [record for record in records if not record.get("about_release")]
    release = [record for record in records if record.get("about_release")]
    return {
        "film": film[:MOST_ROWS],
        "release": release[:MOST_ROWS],
        "more": len(film) > MOST_ROWS,
    }


def _confusion(scored: Scored) -> dict[str, int]:
    import pyarrow.compute as pc

    counted = pc.value_counts(scored.results["cm_value"]).to_pylist()
    counts = {v["values"]: v["counts"] for v in counted}
    return {name: counts.get(name, 0) for name in ("tp", "fp", "fn", "tn")}


def _givers(scored: Scored) -> dict[str, int]:
    import pyarrow.compute as pc

    names = {"human": "a person", "rule": "a rule", "model": "a model (not learned from)"}
    counted = pc.value_counts(scored.results["label_source"]).to_pylist()
    return {names[v["values"]]: v["counts"] for v in counted if v["values"]}


def _figures(scored: Scored, blind: Blind) -> Iterator[tuple[str, str, str, str]]:
    """Yield each figure of the page: name, SVG, caption, and in words what it shows."""
    from atx_assets.assets import figures, quality_figures
    from atx_assets.assets.drawing import svg
    from atx_assets.learning.importance import importance

    quality, encoding = scored.bundle.about["quality"], scored.bundle.encoding
    measured = quality["model"]["all"]
    for name, draw, caption, alt in (
        (
            "precision_recall",
            quality_figures.precision_recall,
            "The more keeps are to be found, the more skips come with them. The dot: where "
            "verdicts are taken.",
            f"Precision against recall, mean over the folds; PR-AUC {shown(measured['pr_auc'])}.",
        ),
        (
            "roc",
            quality_figures.roc,
            "Keeps found against skips let through; the dotted line is guessing.",
            f"ROC curve, mean over the folds; area {shown(measured['roc_auc'])}.",
        ),
        (
            "calibration",
            quality_figures.calibration,
            "On the dotted line a chance of 70% is a keep in 70 of 100 films.",
            "Calibration: share of keeps against the chance given; off by "
            f"{shown(quality['calibration']['error'])} on average.",
        ),
    ):
        yield name, svg(draw(blind, quality), name), caption, alt
    yield (
        "probabilities",
        svg(figures.probabilities(scored), "probabilities"),
        "How sure the model is: most films lie at the ends, few near the threshold.",
        "Distribution of the chance of a keep by label, with the threshold at "
        f"{scored.bundle.threshold:.2f}.",
    )
    trained = scored.titles.filter(scored.titles["trains"])
    found = importance(scored.bundle.model, encoding.matrix(trained))
    names = figures.importance_names(found, encoding)
    yield (
        "importances",
        svg(figures.importances(found, encoding), "importances"),
        "How far each feature moves the answers about labelled films, and which way.",
        "Feature importance, the strongest first: " + ", ".join(names) + ".",
    )
    for kind in KINDS:
        parts = share_kept(scored, kind)
        yield (
            f"shares_{kind}",
            svg(figures.shares(kind, parts), f"shares_{kind}"),
            f"What is kept by {kind}; in brackets the labelled films, and all.",
            f"Share kept by {kind}: "
            + "; ".join(
                f"{part.name} {part.labelled_kept:.0%}"
                for part in parts[: figures.SHOWN]
                if part.labelled_kept is not None
            )
            + ".",
        )
    for number in figures.numbers_of(scored):
        name = figures.axis_name(number)
        yield (
            f"violin_{number}",
            svg(figures.violin(scored, number), f"violin_{number}"),
            f"{name[0].upper()}{name[1:]}, by what the model says and by what the label says.",
            f"Violin plots of {name} among predicted skips and keeps, and among films labelled "
            "skip, labelled keep, and not labelled.",
        )
    yield (
        "correlations",
        svg(figures.correlations(scored), "correlations"),
        "How the numbers go together, and with the chance of a keep: 1 is fully, 0 not at all.",
        "Correlation matrix of the numbers and the chance of a keep.",
    )

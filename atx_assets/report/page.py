"""The report as one page of HTML: the template filled with films and model.

Not here: the figures (`report_figures.py`), what else it shows (`shares.py`, `since_last.py`,
`quality_tables.py`), where it is stored (`defs/assets/analysis_report.py`).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib.resources import files as package_files
from typing import Any

from jinja2 import Environment

from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles
from atx_assets.models.scored import counts
from atx_assets.report.drawing import svg
from atx_assets.report.quality_tables import measure_tables, threshold_table
from atx_assets.report.records import link
from atx_assets.report.report_figures import Drawn
from atx_assets.report.scored_films import Scored
from atx_assets.report.shares import KINDS, LEAST, release_skips, weak_slices
from atx_assets.report.since_last import SinceLast, since_last
from atx_assets.sample import MADE_UP, is_sample
from atx_assets.schemas import AGAIN, LABEL, RECOMMENDED
from atx_assets.sources.extracted import told_if_any
from atx_assets.storage.data_folder import DataFolder

#: Rows of a list in the page; the list's file has all of them.
MOST_ROWS = 500
#: The parts of the review queue, in the order of the page.
_TASKS = (AGAIN, LABEL, RECOMMENDED)


def render_page(files: DataFolder, scored: Scored, drawn: Sequence[Drawn]) -> str:
    """Return the page as HTML.

    Raises:
        AtxError: a list that it shows was made from other scores, or by an earlier atx.
    """
    # Titles come from strangers: everything in the page is escaped, except what the
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
        headline=headline(bundle),
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


def headline(bundle: Bundle) -> str:
    """Say in a sentence how good the model is for its owner."""
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
        "more": "1 is perfect; always skipping has "
        f"{quality['always_skip']['all']['pr_auc']['mean']:.3f}",
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


def _place(files: DataFolder, bundle: Bundle) -> str:
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
    return "the first model" if bundle.version == 1 else "no earlier champion is kept"


def _read_list(files: DataFolder, asset: str) -> list[dict[str, Any]]:
    """Read a list, and check that it was made from the current scores.

    Raises:
        AtxError: it was made from other scores, or by an earlier atx.
    """
    files.require(asset, "scored_results")
    return files.read_records(asset)


def _by_task(queue: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {task: [record for record in queue if record["task"] == task] for task in _TASKS}


def _shortened(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Separate what is about the release, and keep the first rows of each part."""
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

"""Which films the review queue names, for each task, and the reason given for each.

Not here: how films are ranked (`learning/review.py`), the file (`defs/assets/review_queue.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from atx_assets.learning.neighbours import leaves
from atx_assets.learning.review import (
    can_be_sceptical,
    likely_wrong,
    unsureness,
    worth_labelling,
)
from atx_assets.models.scored import unlabelled_keeps
from atx_assets.report.records import records_of
from atx_assets.report.scored_films import Scored
from atx_assets.schemas import AGAIN, LABEL, RECOMMENDED
from atx_assets.sources.label_changes import giver_in_words

#: The most films that the queue names for each task.
MOST = {AGAIN: 50, LABEL: 50, RECOMMENDED: 20}
#: Places among the films to label again that are reserved for people's labels.
PEOPLE = 10


def queue_records(scored: Scored, doubt: Doubt) -> list[dict[str, Any]]:
    """Return the queue: the best of both kinds of question first, and what to watch last.

    Args:
        scored: the films.
        doubt: as `doubted_labels` returns it.
    """
    recommended = surest_keeps(scored, MOST[RECOMMENDED])
    to_label, why_label = films_to_label(scored, recommended)
    places = {AGAIN: films_to_label_again(doubt), LABEL: to_label, RECOMMENDED: recommended}
    reasons = {
        AGAIN: [doubt.because(row) for row in places[AGAIN]],
        LABEL: why_label,
        RECOMMENDED: _why_recommended(scored, recommended),
    }
    asked = [(task, at) for at in range(max(MOST.values())) for task in (AGAIN, LABEL)]
    order = [
        (task, at)
        for task, at in [*asked, *((RECOMMENDED, at) for at in range(MOST[RECOMMENDED]))]
        if at < len(places[task])
    ]
    rows = np.array([places[task][at] for task, at in order], int)
    return [
        {
            "rank": at + 1,
            "task": task,
            "because": reasons[task][at],
            "doubted_at": float(doubt.probability[row]) if task == AGAIN else None,
            **record,
        }
        for (task, at), row, record in zip(order, rows, records_of(scored, rows), strict=True)
    ]


@dataclass(frozen=True)
class Doubt:
    """Films whose label is doubted, in order, and which models doubt it.

    `probability` is the probability by which each film's label is doubted, and `learned` says
    which films the bundle learned from. `keeps` are the probabilities of the films that a doubted
    film is compared with: `whose` keeps.
    """

    scored: Scored
    rows: NDArray[np.intp]
    probability: NDArray[np.float64]
    learned: NDArray[np.bool_]
    keeps: NDArray[np.float64]
    models: str
    whose: str

    def because(self, row: int) -> str:
        """Say in a sentence why a film's label is doubted."""
        (film,) = self.scored.results.slice(row, 1).to_pylist()
        giver = giver_in_words(film["label_source"])
        verdict, probability = "keep" if film["actual"] else "skip", self.probability[row]
        if not self.learned[row]:
            return (
                f"{giver} said {verdict}, but the model, which has yet to learn that, puts a keep "
                f"at {probability:.0%}"
            )
        because = f"{giver} said {verdict}, but {self.models} put a keep at {probability:.0%}"
        beyond = self.keeps > probability if film["actual"] else self.keeps < probability
        share = int(100 * beyond.mean()) if len(beyond) else 0
        more = "less" if film["actual"] else "more"
        return f"{because}, {more} than for {share}% of {self.whose} keeps" if share else because


def doubted_labels(scored: Scored) -> Doubt:
    """Find labels that are likely wrong.

    The sceptical models of the bundle doubt them; if it did not learn from a film, the
    film's own probability does, which did not see the label either. That is so for all films if
    people gave too few keeps, or an earlier atx made the bundle.
    """
    results, learned = scored.results, scored.bundle.learned_from
    probability = results["probability"].to_numpy()
    at = pc.index_in(results["key"], learned["key"]).fill_null(-1).to_numpy()
    taught = learned["label"].to_numpy().astype(int)
    by_person = pc.equal(learned["label_source"], "human").to_numpy()
    sceptical = can_be_sceptical(taught, by_person) and "sceptical" in learned.column_names
    if sceptical:
        probability = np.where(at < 0, probability, learned["sceptical"].to_numpy()[at])

    labelled = np.flatnonzero(results["actual"].is_valid().to_numpy())
    labels = results["actual"].take(labelled).to_numpy().astype(int)
    by_person = pc.equal(results["label_source"].take(labelled), "human").to_numpy()
    blind = results["probability"].take(labelled).to_numpy()
    wrong = likely_wrong(labels, probability[labelled], blind, by_person)
    compared = (labels == 1) & (at[labelled] >= 0) & (by_person | (not sceptical))
    models = "models that did not see that label"
    if sceptical:
        models = "models trained to distrust rules' keeps"
    elif not by_person[labels == 1].all():
        models += ", but learned rules' keeps,"
    return Doubt(
        scored=scored,
        rows=labelled[wrong],
        probability=probability,
        learned=at >= 0,
        keeps=probability[labelled[compared]],
        models=models,
        whose="people's" if sceptical else "all",
    )


def films_to_label_again(doubt: Doubt) -> NDArray[np.intp]:
    """Choose the doubted labels to ask about: rules' first, with some places for people's."""
    sources = doubt.scored.results["label_source"].take(doubt.rows)
    by_person = pc.equal(sources, "human").to_numpy()
    people = doubt.rows[by_person]
    rules = doubt.rows[~by_person][: MOST[AGAIN] - min(len(people), PEOPLE)]
    return np.concatenate([rules, people])[: MOST[AGAIN]]


def surest_keeps(scored: Scored, number: int) -> NDArray[np.intp]:
    """Return the rows of predicted keeps among unlabelled films, highest probability first."""
    return unlabelled_keeps(scored.results)[:number]


def films_to_label(
    scored: Scored, recommended: NDArray[np.intp]
) -> tuple[NDArray[np.intp], list[str]]:
    """Choose unlabelled films that the model cannot decide, and say why for each."""
    results, bundle = scored.results, scored.bundle
    unlabelled = np.flatnonzero(results["label_source"].is_null().to_numpy())
    others = np.setdiff1d(unlabelled, recommended)
    probability = results["probability"].to_numpy()

    def leaves_of(rows: NDArray[np.intp]) -> NDArray[np.integer]:
        return leaves(bundle.model, bundle.encoding.matrix(scored.titles.take(others[rows])))

    chosen, alike = worth_labelling(probability[others], bundle.threshold, leaves_of, MOST[LABEL])
    rows = others[chosen]
    surer = np.sort(unsureness(probability[unlabelled], bundle.threshold))
    shares = np.searchsorted(surer, unsureness(probability[rows], bundle.threshold))
    because = [
        f"nobody has labelled it, and the model is surer of {int(100 * share / len(surer))}% of "
        f"such films: a keep at {probability[row]:.0%}, and the threshold is {bundle.threshold:.0%}"
        + (f"; {near:.0%} like the nearest above it" if place else "")
        for place, (row, share, near) in enumerate(zip(rows, shares, alike, strict=True))
    ]
    return rows, because


def _why_recommended(scored: Scored, rows: NDArray[np.intp]) -> list[str]:
    """Say for each recommended film how often the model was right when it was as sure."""
    results = scored.results
    labelled = results["actual"].is_valid().to_numpy()
    probability = results["probability"].to_numpy()
    kept = results["actual"].fill_null(False).to_numpy()
    because = []
    for row in rows:
        as_sure = labelled & (probability >= probability[row])
        because.append(
            f"nobody has labelled it, and the model puts a keep at {probability[row]:.0%}; of the "
            f"labelled films at that probability or higher, {int(kept[as_sure].sum())} of "
            f"{int(as_sure.sum())} are keeps"
        )
    return because

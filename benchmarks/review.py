"""How well the review queue's ranking finds wrong labels, against cleanlab and others.

What: some labels of an export are flipped, and each ranking must find them: precision in the first
50 and 100, and the area under the precision-recall curve, mean over seeds. The noise is 5% and 10%
of all labels, or rules' skips that become rules' keeps. Then, without planted noise: which labels
of a `media` export have another label in a later `training` export. Last, the cost and benefit of
spreading the unlabelled titles, and the benefit of more seeds of the folds.

Against: cleanlab's scores (with two classes, its three give the same order, unless adjusted for the
classes' mean confidence) and its filters; confident learning in numpy (Northcutt, Jiang and Chuang
2021); "furthest from its label". Each on the answers of three kinds of models: rules' keeps taught
as they are, left out, or as skips. If people gave no keeps, only the first kind exists.

On: exports (`--data`, by default the owner's beside the repository), the plain recipe.

To reach, with the models in use: no other ranking finds more in the first 50, by more than .02.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import timing
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from exports import read_export
from sklearn.metrics import average_precision_score

from atx_assets.learning import review
from atx_assets.learning.evaluation import assignments
from atx_assets.learning.features import FeatureEncoding
from atx_assets.learning.models import fit, predict
from atx_assets.learning.neighbours import leaves, proximity
from atx_assets.learning.tuning import PLAIN

Array = np.ndarray[Any, Any]
#: Given labels, probabilities of a keep and who is a person: rows, the most doubtful first. The
#: rows that it leaves out follow, the furthest from their label first.
Ranking = Callable[[Array, Array, Array], Array]
AS_KEEPS, LEFT_OUT, AS_SKIPS = "as keeps", "left out", "as skips"
OURS, PLAINLY = "ours", "furthest from its label"
MARGIN = 0.02


@dataclass(frozen=True)
class Library:
    """The training rows of an export, and all its films."""

    films: Any
    ids: list[str]
    encoding: FeatureEncoding
    matrix: Array
    labels: Array
    by_person: Array


def read(export: Path) -> Library:
    """Read an export of either layout."""
    films, training, encoding = read_export(export)
    labels = training["label"].to_numpy().astype(int)
    by_person = np.array(training["label_source"].to_pylist()) == "human"
    matrix = encoding.matrix(training)
    return Library(films, training["imdb_id"].to_pylist(), encoding, matrix, labels, by_person)


# -- models


def answers(library: Library, kind: str, seeds: int = review.SCEPTICS) -> Array:
    """Ask models of a kind, blind to each label; shape (seeds, n)."""
    labels, by_person = library.labels, library.by_person
    taught = np.where(by_person, labels, 0) if kind == AS_SKIPS else labels
    seen = by_person | (labels == 0) if kind == LEFT_OUT else np.ones(len(labels), bool)
    folds = assignments(labels, range(seeds))
    found = np.empty(folds.shape)

    def one(at: tuple[int, int]) -> None:
        held_out = folds[at[0]] == at[1]
        rows = seen & ~held_out
        model = fit(library.matrix[rows], taught[rows], PLAIN)
        found[at[0], held_out] = predict(model, library.matrix[held_out])

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, np.ndindex(seeds, 5)))
    return found


def kinds(library: Library) -> tuple[str, ...]:
    """Return the kinds of models that a library allows; the last is the one in use."""
    possible = review.can_be_sceptical(library.labels, library.by_person)
    return (AS_KEEPS, LEFT_OUT, AS_SKIPS) if possible else (AS_KEEPS,)


# -- rankings


def furthest(labels: Array, probability: Array, by_person: Array) -> Array:
    """Rank by the probability of the label, least first."""
    return np.argsort(np.where(labels == 1, probability, 1 - probability), kind="stable")


def rules_first(labels: Array, probability: Array, by_person: Array) -> Array:
    """Rank all labels of rules before all of people, either the furthest first."""
    return np.lexsort((np.where(labels == 1, probability, 1 - probability), by_person))


def confident(labels: Array, probability: Array, by_person: Array) -> Array:
    """Rank, rules first, those off the diagonal of the confident joint."""
    of_keeps = probability[labels == 1].mean()
    of_skips = (1 - probability[labels == 0]).mean()
    off = np.where(
        labels == 1,
        (1 - probability >= of_skips) & (probability < 0.5),
        (probability >= of_keeps) & (probability > 0.5),
    )
    own = np.where(labels == 1, probability, 1 - probability)
    rows = np.flatnonzero(off)
    return rows[np.lexsort((own[rows], by_person[rows]))]


def both(probability: Array) -> Array:
    """Return the probabilities as cleanlab takes them."""
    return np.column_stack([1 - probability, probability])


def scored(method: str, *, adjusted: bool) -> Ranking:
    """Return the ranking by one of cleanlab's scores."""

    def ranking(labels: Array, probability: Array, by_person: Array) -> Array:
        quality = get_label_quality_scores(
            labels, both(probability), method=method, adjust_pred_probs=adjusted
        )
        return np.argsort(quality, kind="stable")

    return ranking


def filtered(by: str) -> Ranking:
    """Return the ranking of what one of cleanlab's filters finds, rules first."""

    def ranking(labels: Array, probability: Array, by_person: Array) -> Array:
        rows = np.flatnonzero(find_label_issues(labels, both(probability), filter_by=by, n_jobs=1))
        own = np.where(labels == 1, probability, 1 - probability)
        return rows[np.lexsort((own[rows], by_person[rows]))]

    return ranking


RANKINGS: dict[str, Ranking] = {
    # The queue also asks that the models in use doubt a person's label.
    OURS: lambda labels, doubting, by_person: review.likely_wrong(
        labels, doubting, doubting, by_person
    ),
    PLAINLY: furthest,
    "all of rules, then all of people": rules_first,
    "confident joint, rules first": confident,
    "cleanlab self_confidence": scored("self_confidence", adjusted=False),
    "cleanlab normalized_margin": scored("normalized_margin", adjusted=False),
    "cleanlab confidence_weighted_entropy": scored("confidence_weighted_entropy", adjusted=False),
    "cleanlab self_confidence, adjusted": scored("self_confidence", adjusted=True),
    "cleanlab normalized_margin, adjusted": scored("normalized_margin", adjusted=True),
    "cleanlab prune_by_noise_rate, rules first": filtered("prune_by_noise_rate"),
    "cleanlab prune_by_class, rules first": filtered("prune_by_class"),
    "cleanlab both, rules first": filtered("both"),
    "cleanlab confident_learning, rules first": filtered("confident_learning"),
}


def ranked(ranking: Ranking, library: Library, probability: Array) -> Array:
    """Return all rows in a ranking's order."""
    first = ranking(library.labels, probability, library.by_person)
    rest = furthest(library.labels, probability, library.by_person)
    return np.concatenate([first, rest[~np.isin(rest, first)]])


def found(order: Array, wrong: Array) -> tuple[float, float, float]:
    """Return the precision in the first 50 and 100 of an order, and its PR-AUC."""
    hits = wrong[order]
    area = average_precision_score(hits, -np.arange(len(hits)))
    return float(hits[:50].mean()), float(hits[:100].mean()), float(area)


# -- what is wrong


def planted(library: Library, noise: str, seed: int) -> tuple[Library, Array]:
    """Turn labels round: a share of all, or so many skips of rules."""
    draw = np.random.default_rng(seed)
    if noise.endswith("%"):
        among = np.arange(len(library.labels))
        number = len(among) * int(noise[:-1]) // 100
    else:
        among = np.flatnonzero((library.labels == 0) & ~library.by_person)
        number = int(noise.split()[0])
    wrong = np.zeros(len(library.labels), bool)
    wrong[draw.choice(among, number, replace=False)] = True
    return replace(library, labels=np.where(wrong, 1 - library.labels, library.labels)), wrong


NOISE = ("5%", "10%", "60 skips of rules", "120 skips of rules")


def on_planted(library: Library, noise: str, seeds: int) -> dict[tuple[str, str], Array]:
    """Return, by kind of models and ranking, the three figures, mean over seeds."""
    figures: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed in range(seeds):
        noisy, wrong = planted(library, noise, seed)
        for kind in kinds(noisy):
            probability = answers(noisy, kind).mean(axis=0)
            for name, ranking in RANKINGS.items():
                figures.setdefault((kind, name), []).append(
                    found(ranked(ranking, noisy, probability), wrong)
                )
    return {key: np.mean(values, axis=0) for key, values in figures.items()}


def on_later(
    library: Library, known: Array, wrong: Array
) -> Iterator[tuple[tuple[str, str], Array]]:
    """Yield, by kind of models and ranking, the figures among labels whose later verdict is known.

    Beside them, how many of those among the first 50 of all labels are wrong.
    """
    for kind in kinds(library):
        probability = answers(library, kind).mean(axis=0)
        for name, ranking in RANKINGS.items():
            order = ranked(ranking, library, probability)
            first = order[:50]
            yield (
                (kind, name),
                np.array(
                    [
                        *found(order[known[order]], wrong),
                        wrong[first].sum(),
                        known[first].sum(),
                    ]
                ),
            )


def later_verdicts(library: Library, later: Library) -> tuple[Array, Array]:
    """Return of which labels a later verdict is known, and which of these is another."""
    verdicts = dict(zip(later.ids, later.labels.tolist(), strict=True))
    now = np.array([verdicts.get(name, -1) for name in library.ids])
    return now >= 0, (now >= 0) & (now != library.labels)


# -- the tables


def show(figures: dict[tuple[str, str], Array], heads: tuple[str, ...]) -> None:
    """Print the figures, a line a ranking and kind of models."""
    timing.print_table(
        ("ranking", "keeps of rules", *heads),
        (
            (
                name,
                kind,
                *(
                    f"{v:.0f}" if v >= 2 or h.startswith("of") else f"{v:.3f}"
                    for h, v in zip(heads, values, strict=True)
                ),
            )
            for (kind, name), values in figures.items()
        ),
    )


def judge(figures: dict[tuple[str, str], Array]) -> None:
    """Say whether ours, with the models in use, is as good as the best other."""
    in_use = list(figures)[-1][0]
    best = max(v[0] for (kind, name), v in figures.items() if kind == in_use and name != OURS)
    behind = best - figures[in_use, OURS][0]
    print(timing.verdict("behind the best other in the first 50", behind, MARGIN))


def show_seeds(library: Library, known: Array, wrong: Array) -> None:
    """Print what more seeds of the folds bring: mean and spread over draws of ten seeds."""
    every = answers(library, AS_SKIPS, 10)
    rows = []
    for number in (1, 2, 3, 5):
        groups = [every[at : at + number] for at in range(0, 11 - number, number)]
        areas = [
            found(
                (o := ranked(furthest, library, group.mean(axis=0)))[known[o]],
                wrong,
            )[2]
            for group in groups
        ]
        rows.append((str(number), f"{np.mean(areas):.3f}", f"{np.ptp(areas):.3f}"))
    timing.print_table(("seeds of the folds", "PR-AUC, mean", "range"), rows)


def show_spread(library: Library) -> None:
    """Print what spreading the unlabelled titles costs and brings, in the first ten."""
    unlabelled = library.films.filter(library.films["label_source"].is_null())
    matrix = library.encoding.matrix(unlabelled)
    model = fit(library.matrix, library.labels, PLAIN)
    probability, threshold = predict(model, matrix).astype(float), 0.4
    unsure = review.unsureness(probability, threshold)
    chosen, _ = review.worth_labelling(
        probability, threshold, lambda rows: leaves(model, matrix[rows]), 50
    )
    rows = []
    for name, order in (
        ("most unsure", np.argsort(-unsure, kind="stable")),
        ("spread, as in use", chosen),
    ):
        ten = leaves(model, matrix[order[:10]])
        alike = proximity(ten, ten)
        np.fill_diagonal(alike, 0)
        nearest = alike.max(axis=1).mean()
        rows.append((name, f"{unsure[order[:10]].mean():.2f}", f"{nearest:.2f}"))
    of = f"{len(chosen)} of {len(probability)} unlabelled are asked about"
    print(f"\nThe first ten unlabelled titles ({of}; threshold {threshold})\n")
    timing.print_table(("order", "unsureness, mean", "alike to the nearest, mean"), rows)


def main() -> None:
    """Print, for each export, the figures on planted noise; then those on later verdicts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    given = [shared / "media.parquet", shared / "training.parquet"]
    parser.add_argument("--data", type=Path, nargs="+", default=given, help="parquet exports")
    parser.add_argument("--seeds", type=int, default=8, help="of the noise")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="cleanlab")
    libraries = {export: read(export) for export in options.data}
    for export, library in libraries.items():
        for noise in NOISE:
            print(f"\n{export.name}, planted: {noise}, mean of {options.seeds} seeds\n")
            figures = on_planted(library, noise, options.seeds)
            show(figures, ("in 50", "in 100", "PR-AUC"))
            judge(figures)
    first, last = libraries[options.data[0]], libraries[options.data[-1]]
    known, wrong = later_verdicts(first, last)
    if first is not last and wrong.any():
        names = f"{options.data[0].name}, against the later verdicts of {options.data[-1].name}"
        print(f"\n{names}: {known.sum()} known, {wrong.sum()} others\n")
        figures = dict(on_later(first, known, wrong))
        show(
            figures,
            ("in 50", "in 100", "PR-AUC", "of the first 50, wrong", "of the first 50, known"),
        )
        judge(figures)
        show_seeds(first, known, wrong)
    if first.films["label_source"].null_count:
        show_spread(first)


if __name__ == "__main__":
    main()

"""Which titles to label, or label again, next: doubtful labels, and what the model cannot decide.

Not here: how the titles are shown (`defs/assets/review_queue.py`). `benchmarks/review.py` has what
else was tried for doubtful labels: confident learning and cleanlab ranked them no better.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning.folds import FOLDS, LEAST_LABELS
from atx_assets.learning.models import Hyperparameters, fit, predict
from atx_assets.learning.neighbours import proximity
from atx_assets.learning.processors import usable_processors

#: Seeds of the folds for a sceptical probability: five find no more wrong labels than two.
SCEPTICS = 2
#: Titles less uncertain than this are not worth a question.
LEAST_UNSURE = 0.1
#: How many of the most uncertain titles are considered for each one chosen.
_POOL = 10


def can_be_sceptical(labels: NDArray[np.int64], by_person: NDArray[np.bool_]) -> bool:
    """Return whether people gave enough keeps to do without those of rules, and rules gave any.

    Args:
        labels: shape (n,), 0 or 1.
        by_person: bool, shape (n,): a person gave the label, not a rule.
    """
    keeps = labels == 1
    by_people = int((keeps & by_person).sum())
    return LEAST_LABELS <= by_people < int(keeps.sum())


def sceptical_probabilities(
    matrix: NDArray[np.float32],
    labels: NDArray[np.int64],
    by_person: NDArray[np.bool_],
    hyperparameters: Hyperparameters,
    assignment: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Predict with models that learned the keeps of rules as skips, on rows that they did not see.

    Args:
        matrix: dense float32, shape (n, features), rows ordered by key.
        labels: shape (n,), 0 or 1.
        by_person: bool, shape (n,): a person gave the label, not a rule.
        hyperparameters: the recipe.
        assignment: shape (seeds, n): the fold in which each row is held out.

    Returns:
        float64, shape (n,): the mean over the first `SCEPTICS` seeds.
    """
    taught = np.where(by_person, labels, 0)
    folds = assignment[:SCEPTICS]
    answers = np.empty(folds.shape, np.float32)

    def one(at: tuple[int, int]) -> None:
        seed, fold = at
        held_out = folds[seed] == fold
        model = fit(matrix[~held_out], taught[~held_out], hyperparameters)
        answers[seed, held_out] = predict(model, matrix[held_out])

    places = [(seed, fold) for seed in range(len(folds)) for fold in range(FOLDS)]
    with ThreadPoolExecutor(usable_processors()) as pool:
        list(pool.map(one, places))
    mean: NDArray[np.float64] = answers.mean(axis=0, dtype=np.float64)
    return mean


def likely_wrong(
    labels: NDArray[np.int64],
    sceptical: NDArray[np.float64],
    blind: NDArray[np.float64],
    by_person: NDArray[np.bool_],
) -> NDArray[np.intp]:
    """Rank the labels that models doubt: those of rules first, then people's.

    Sceptical models give keeps too low a probability, so the other models must doubt a person's
    label as well. In each group, the label with the lowest sceptical probability comes first; ties
    in the rows' order.

    Args:
        labels: shape (n,), 0 or 1.
        sceptical: of a keep, shape (n,), by models that did not see the label and distrust rules.
        blind: of a keep, shape (n,), by models that did not see the label.
        by_person: bool, shape (n,): a person gave the label, not a rule.

    Returns:
        The rows whose label has a probability below one half.
    """
    own, trusted = (np.where(labels == 1, p, 1 - p) for p in (sceptical, blind))
    doubtful = np.flatnonzero((own < 0.5) & (~by_person | (trusted < 0.5)))
    return doubtful[np.lexsort((own[doubtful], by_person[doubtful]))]


def unsureness(probability: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Return how uncertain the model is: 1 at the threshold, 0 if it is certain.

    The distance from the threshold counts as a share of the range on its side.

    Args:
        probability: of a keep, shape (n,).
        threshold: the lowest probability of a keep, in (0, 1).
    """
    room = np.where(probability >= threshold, max(1 - threshold, 1e-9), max(threshold, 1e-9))
    unsure: NDArray[np.float64] = 1 - np.minimum(np.abs(probability - threshold) / room, 1)
    return unsure


def worth_labelling(
    probability: NDArray[np.float64],
    threshold: float,
    leaves: Callable[[NDArray[np.intp]], NDArray[np.integer]],
    number: int,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Choose unlabelled titles to ask about: the most uncertain first, spread over kinds of titles.

    Each next title maximises uncertainty times dissimilarity to the nearest title chosen before;
    the second of two that no tree separates comes last. A form of maximal marginal relevance:
    Carbonell and Goldstein (1998), *The Use of MMR*, SIGIR.

    Args:
        probability: of a keep, shape (n,).
        threshold: the lowest probability of a keep, in (0, 1).
        leaves: returns the leaves of some rows, shape (rows, trees); called once, and only for the
            most uncertain.
        number: how many to choose, at most.

    Returns:
        rows: the chosen ones, in order; none of which the model is certain.
        alike: how similar each is to the nearest chosen before it, 0 to 1; 0 for the first.
    """
    unsure = unsureness(probability, threshold)
    open_ones = np.flatnonzero(unsure >= LEAST_UNSURE)
    open_ones = open_ones[np.argsort(-unsure[open_ones], kind="stable")]
    # Titles that no tree separates share a probability: many of a kind must not fill the pool.
    firsts = np.sort(np.unique(probability[open_ones], return_index=True)[1])
    pool = np.append(open_ones[firsts], np.delete(open_ones, firsts))[: _POOL * number]
    number = min(number, len(pool))
    if not number:
        return np.zeros(0, int), np.zeros(0)
    where = leaves(pool)
    chosen, alike = np.zeros(number, int), np.zeros(number)
    nearest, left = np.zeros(len(pool)), np.ones(len(pool), bool)
    for place in range(number):
        worth = np.where(left, unsure[pool] * (1 - nearest), -1)
        best = int(np.argmax(worth))
        chosen[place], alike[place], left[best] = best, nearest[best], False
        nearest = np.maximum(nearest, proximity(where[best : best + 1], where)[0])
    return pool[chosen], alike

"""Which labelled titles a model treats like a given title: those that end in the same leaves.

The share of trees in which two rows end in the same leaf is the proximity of Breiman (2001),
Random Forests. Not here: how the nearest are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xgboost as xgb
from numpy.typing import NDArray

from atx_assets.learning.folds import SEEDS
from atx_assets.learning.models import alone
from atx_assets.learning.scoring import ScoringBundle, held_out_models

#: Labelled titles compared; if there are more, evenly spaced ones in the order of their keys.
MOST = 20_000
#: Titles compared with all of these in one step: limits the memory.
_AT_ONCE = 512


def leaves(model: xgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.integer]:
    """Return the leaf that each row ends in, in each tree; integers, shape (n, trees)."""
    return alone(lambda: _leaves(model, xgb.DMatrix(matrix, missing=np.nan, nthread=1)))


def _leaves(model: xgb.Booster, rows: xgb.DMatrix) -> NDArray[np.integer]:
    if rows.num_row() == 0:
        return np.zeros((0, model.num_boosted_rounds()), np.uint8)
    found: NDArray[np.float32] = model.predict(rows, pred_leaf=True)
    # A tree of the grid has at most 255 nodes; smaller integers compare faster.
    return found.reshape(rows.num_row(), -1).astype(np.uint8 if found.max() < 256 else np.int32)


def proximity(one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.float32]:
    """Return the share of trees in which rows end in the same leaf.

    Args:
        one: leaves, shape (n, trees).
        other: leaves, shape (m, trees).

    Returns:
        float32, shape (n, m): 1 if no tree separates the two rows.
    """
    same: NDArray[np.float32] = np.zeros((len(one), len(other)), np.float32)
    for ours, theirs in zip(one.T, other.T, strict=True):
        same += ours[:, None] == theirs[None, :]
    same /= max(one.shape[1], 1)
    return same


def nearest(
    titles: pa.Table, labelled: pa.Table, bundle: ScoringBundle, number: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Find the labelled titles that are nearest to each title, except itself.

    Nearness uses the models that gave the title its probability: the mean over the five
    that did not see its label, or the champion.

    Args:
        titles: n titles with `key`, `media_title`, `release_year` and the encoding's columns.
        labelled: m titles to search, with the same columns.
        bundle: the version that scores.
        number: how many to find for each; fewer if there are fewer labelled titles.

    Returns:
        rows: of `labelled`, shape (n, number), the nearest first, ties in the rows' order.
        share: of trees that treat both alike, shape (n, number).
    """
    step = -(-labelled.num_rows // MOST) or 1
    looked = np.arange(0, labelled.num_rows, step)
    known = labelled.take(looked)
    number = min(number, max(len(looked) - 1, 0))
    rows = np.zeros((titles.num_rows, number), int)
    shares = np.zeros((titles.num_rows, number), np.float32)
    itself = pc.index_in(titles["key"], known["key"].combine_chunks()).fill_null(-1).to_numpy()
    asked, among = bundle.encoding.matrix(titles), bundle.encoding.matrix(known)
    # Built once, not for each of the models.
    of_known = xgb.DMatrix(among, missing=np.nan, nthread=1)
    models = [
        (at, share, leaves(model, asked[at]), alone(partial(_leaves, model, of_known)))
        for at, share, model in _models_of(titles, bundle)
    ]
    for start in range(0, titles.num_rows, _AT_ONCE):
        batch = np.arange(start, min(start + _AT_ONCE, titles.num_rows))
        alike = np.zeros((len(batch), len(looked)), np.float32)
        for at, share, ours, theirs in models:
            here = np.isin(at, batch)
            alike[at[here] - start] += share * proximity(ours[here], theirs)
        own = itself[batch]
        alike[np.flatnonzero(own >= 0), own[own >= 0]] = -1
        best = np.argsort(-alike, axis=1, kind="stable")[:, :number]
        rows[batch] = looked[best]
        shares[batch] = np.take_along_axis(alike, best, axis=1)
    return rows, shares


def _models_of(
    titles: pa.Table, bundle: ScoringBundle
) -> Iterator[tuple[NDArray[np.intp], float, xgb.Booster]]:
    """Yield the models that gave titles their probability: which titles, what share, the model."""
    blind = np.zeros(titles.num_rows, bool)
    for _, at, model in held_out_models(titles, bundle):
        blind[at] = True
        yield at, 1 / len(SEEDS), model
    yield np.flatnonzero(~blind), 1.0, bundle.model

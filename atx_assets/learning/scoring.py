"""The probabilities of every film, from one bundle. Not here: where films and bundle come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from atx_assets.learning.evaluation import FOLDS, SEEDS
from atx_assets.learning.models import predict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import xgboost as xgb

    from atx_assets.learning.features import FeatureEncoding

#: Titles encoded at once: the dense matrix of a million titles would fill the memory.
BATCH = 65_536


class ScoringBundle(Protocol):
    """What scoring needs of a bundle."""

    @property
    def encoding(self) -> FeatureEncoding:
        """The encoding that the models were trained on."""

    @property
    def model(self) -> xgb.Booster:
        """The model that learned from every training row."""

    @property
    def learned_from(self) -> pa.Table:
        """`key`, `media_title`, and `seed0` to `seed4`: the fold a row was held out of."""

    def fold_model(self, seed: int, fold: int) -> xgb.Booster:
        """The model that did not see one fold."""


def in_sample(titles: pa.Table, bundle: ScoringBundle) -> np.ndarray[Any, Any]:
    """Ask the model that learned from every training row.

    Args:
        titles: n titles with the encoding's source columns.
        bundle: the version that scores.

    Returns:
        float32, shape (n,).
    """
    import numpy as np

    answers = np.empty(titles.num_rows, np.float32)
    for start in range(0, titles.num_rows, BATCH):
        batch = titles.slice(start, BATCH)
        answers[start : start + BATCH] = predict(bundle.model, bundle.encoding.matrix(batch))
    return answers


def out_of_fold(
    titles: pa.Table, rows: np.ndarray[Any, Any], bundle: ScoringBundle
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Ask, for each title, the five models (one a seed) that did not see its label.

    Args:
        titles: the films.
        rows: which of them are wanted.
        bundle: the version that scores.

    Returns:
        known: bool, shape of `rows`: the bundle learned from the title. The others no model of
            the bundle has seen, and the champion itself may be asked.
        probability: float64, the mean of the five, NaN where not known.
    """
    import numpy as np

    wanted = titles.take(rows)
    known = np.zeros(len(rows), bool)
    total = np.zeros(len(rows))
    matrix = bundle.encoding.matrix(wanted)
    for at, model in held_out_models(wanted, bundle):
        known[at] = True
        total[at] += predict(model, matrix[at])
    return known, np.where(known, total / len(SEEDS), np.nan)


def blind_probabilities(titles: pa.Table, bundle: ScoringBundle) -> np.ndarray[Any, Any]:
    """Ask, for each title, models that have not seen its label.

    Args:
        titles: n titles with `key`, `media_title` and the encoding's source columns.
        bundle: the version that scores.

    Returns:
        float64, shape (n,): where the bundle learned from the title, the mean of the five models
        that did not see it; elsewhere what the champion says.
    """
    import numpy as np

    known, blind = out_of_fold(titles, np.arange(titles.num_rows), bundle)
    return np.where(known, blind, in_sample(titles, bundle).astype(np.float64))


def held_out_models(
    titles: pa.Table, bundle: ScoringBundle
) -> Iterator[tuple[np.ndarray[Any, Any], xgb.Booster]]:
    """Yield each model of the folds, with the rows of `titles` that it was kept from."""
    import numpy as np

    place = _place(titles, bundle.learned_from).to_numpy()
    learned = bundle.learned_from
    for seed in SEEDS:
        folds = np.append(learned[f"seed{seed}"].to_numpy(), -1)[place]
        for fold in range(FOLDS):
            at = np.flatnonzero(folds == fold)
            if len(at):
                yield at, bundle.fold_model(seed, fold)


def _place(titles: pa.Table, learned: pa.Table) -> pa.Array:
    """Find each title among those that a bundle learned from: its row there, or -1.

    By key, or else by a name that only one of them has: a title gets another key when its IMDb id
    becomes known, and the champion, which saw its label, must not be asked then. A title that is
    taken for its namesake is asked of models that have not seen it either.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.array(range(learned.num_rows), pa.int64())
    named = pa.table({"name": learned["media_title"], "row": rows}).group_by("name")
    alone = named.aggregate([("row", "count"), ("row", "max")])
    alone = alone.filter(pc.equal(alone["row_count"], 1)).combine_chunks()
    by_name = alone["row_max"].take(pc.index_in(titles["media_title"], alone["name"]))
    by_key = pc.cast(pc.index_in(titles["key"], learned["key"]), pa.int64())
    return pc.coalesce(by_key, by_name, pa.scalar(-1, pa.int64()))

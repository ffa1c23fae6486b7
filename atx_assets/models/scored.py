"""Titles scored by one bundle, and how the table is read.

Not here: the asset (`defs/assets/scored_results.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from atx_assets import schemas
from atx_assets.models.bundle import Bundle
from atx_assets.storage.data_folder import DataFolder

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def score_titles(titles: pa.Table, bundle: Bundle) -> pa.Table:
    """Score titles by one bundle.

    Args:
        titles: as `learning.scoring.as_learned` returns them.
        bundle: the version that scores.

    Returns:
        The columns of `schemas.SCORED_RESULTS`, a row a title in the order given.
    """
    import numpy as np
    import pyarrow as pa

    from atx_assets.learning.scoring import blind_probabilities, in_sample

    champions = in_sample(titles, bundle).astype(np.float64)
    probability = blind_probabilities(titles, bundle, champions)
    # Whoever may have been learned from is in no figure: its probability may know its label.
    trains = titles["trains"].to_numpy() & ~titles["identity_uncertain"].to_numpy()
    predicted = probability >= bundle.threshold
    actual = titles["label"].fill_null(False).to_numpy()
    outcome = np.array(["tn", "fp", "fn", "tp"], object)[2 * actual + predicted]
    made: dict[str, Any] = {
        "actual": pa.array(np.where(trains, actual, None), pa.bool_()),
        "predicted": predicted,
        "probability": probability,
        "probability_in_sample": champions,
        "cm_value": pa.array(np.where(trains, outcome, None), pa.string()),
        "model_version": np.full(titles.num_rows, bundle.version),
    }
    schema = schemas.arrow_schema(schemas.SCORED_RESULTS)
    return pa.table([made[n] if n in made else titles[n] for n in schema.names], schema=schema)


def scored_parts(files: DataFolder, bundle: Bundle) -> Iterator[pa.Table]:
    """Score the titles in the data folder by one bundle, a part at a time.

    Memory does not grow with the library.

    Raises:
        AtxError: the titles are missing or damaged, or the bundle is.
    """
    from atx_assets.learning.scoring import as_learned, gone_since

    learned = bundle.learned_from
    gone = gone_since(learned, (part["key"] for part in files.read_parts("titles", ["key"])))
    for titles in files.read_parts("titles"):
        yield score_titles(as_learned(titles, learned, gone), bundle)


def unlabelled_keeps(results: pa.Table) -> np.ndarray[Any, Any]:
    """Return the rows of the predicted keeps among unlabelled films, the surest first."""
    import numpy as np

    unlabelled = results["label_source"].is_null().to_numpy()
    wanted = np.flatnonzero(unlabelled & results["predicted"].to_numpy())
    # Ties by key, which is the order of the rows.
    order = np.argsort(-results["probability"].to_numpy()[wanted], kind="stable")
    rows: np.ndarray[Any, Any] = wanted[order]
    return rows


def counts(column: pa.ChunkedArray) -> dict[Any, int]:
    """Return how often each value stands in a column."""
    import pyarrow.compute as pc

    return {v["values"]: v["counts"] for v in pc.value_counts(column).to_pylist()}

"""Titles scored by one bundle, in the columns of the table of scores.

Not here: how a title is scored (`learning/scoring.py`), the asset (`defs/assets/`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from atx_assets import schemas
from atx_assets.learning.identity import as_learned, gone_since
from atx_assets.learning.scoring import blind_probabilities, in_sample
from atx_assets.models.bundle import Bundle
from atx_assets.storage.data_folder import DataFolder


def score_titles(titles: pa.Table, bundle: Bundle) -> pa.Table:
    """Score titles by one bundle.

    Args:
        titles: as `learning.identity.as_learned` returns them.
        bundle: the version that scores.

    Returns:
        The columns of `schemas.SCORED_RESULTS`, one row per title in the order given.
    """
    champions = in_sample(titles, bundle).astype(np.float64)
    probability = blind_probabilities(titles, bundle, champions)
    # A title that may have been learned from is in no figure: its probability may know its label.
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
    learned = bundle.learned_from
    gone = gone_since(learned, (part["key"] for part in files.read_parts("titles", ["key"])))
    for titles in files.read_parts("titles"):
        yield score_titles(as_learned(titles, learned, gone), bundle)

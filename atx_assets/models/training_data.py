"""The training table and its encoding as models use them, and the fingerprints of what made them.

Not here: how either is made (`defs/assets/training.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atx_assets.learning.features import FeatureEncoding
from atx_assets.learning.folds import require_enough_labels
from atx_assets.models.recipe import recipe_version
from atx_assets.settings import Settings
from atx_assets.sources.extracted import fingerprint_metadata, snapshot_of
from atx_assets.storage.data_folder import DataFolder


@dataclass(frozen=True)
class TrainingData:
    """The training table as models use it: n rows ordered by key."""

    table: pa.Table
    encoding: FeatureEncoding
    matrix: NDArray[np.float32]
    labels: NDArray[np.int64]


def read_training_data(files: DataFolder) -> TrainingData:
    """Read the training table and its encoding.

    Raises:
        AtxError: one is missing, they do not belong together, or there are too few labels.
    """
    files.require("training_table", "feature_encoding")
    table = files.read_table("training_table")
    encoding = FeatureEncoding.from_json(files.read_text("feature_encoding"))
    labels = table["label"].to_numpy().astype(int)
    require_enough_labels(labels)
    matrix = np.empty((table.num_rows, len(encoding.names)), np.float32)
    for at, name in enumerate(encoding.names):
        matrix[:, at] = table[name].to_numpy()
    return TrainingData(table, encoding, matrix, labels)


def what_was_learned(data: TrainingData, settings: Settings) -> dict[str, str]:
    """Return what was learned from, as sensors and the nightly schedule compare it."""
    fingerprints = fingerprint_metadata(snapshot_of(data.table))
    return {**fingerprints, "atx/recipe": recipe_version(settings)}


def training_sha256(data: TrainingData) -> str:
    """Fingerprint only the rows, without the state of the other films that is stored with them."""
    rows = data.table.replace_schema_metadata(None).combine_chunks()
    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows)
        return hashlib.sha256(stream.getvalue()).hexdigest()

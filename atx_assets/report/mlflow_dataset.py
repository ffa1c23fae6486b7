"""The training table as MLflow's dataset: what a run says that it learned from.

MLflow keeps name, fingerprint, columns and size, and no row. Not here: the rest of what it is told
(`tracking.py`).
"""

from __future__ import annotations

from functools import cached_property

import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.pandas_dataset import PandasDataset
from mlflow.types import ColSpec, Schema

from atx_assets.models.training_data import TrainingData

NAME, LABEL = "training_table", "label"
#: Characters of a fingerprint that MLflow takes.
_DIGEST = 36
#: Characters of all columns together; of more, MLflow refuses the dataset.
_COLUMNS = 1_048_575


class _TrainingTable(PandasDataset):  # type: ignore[misc]
    """A frame whose columns are told: to infer them takes MLflow three milliseconds a column."""

    @cached_property
    def schema(self) -> Schema | None:
        """The features and the label; nothing of so many that MLflow would refuse them."""
        kinds = [("boolean" if name == LABEL else "float", name) for name in self.df.columns]
        schema = Schema([ColSpec(kind, name) for kind, name in kinds])
        return schema if len(schema.to_json()) < _COLUMNS - 100 else None


def training_dataset(data: TrainingData, sha256: str) -> PandasDataset:
    """Return the features and labels that a model learned from.

    Args:
        data: the training table; a row per labelled title.
        sha256: of its rows, by which runs of the same table share a dataset.
    """
    frame = pd.DataFrame(data.matrix, columns=data.encoding.names)
    frame[LABEL] = data.labels.astype(bool)
    # No path: the file at it is that of the last training, and homes are moved.
    source = CodeDatasetSource({"atx.training_table": sha256})
    return _TrainingTable(frame, source, LABEL, NAME, sha256[:_DIGEST])

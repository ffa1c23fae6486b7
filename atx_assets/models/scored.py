"""How the table of scores is read. Not here: how it is made (`scoring.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def unlabelled_keeps(results: pa.Table) -> NDArray[np.intp]:
    """Return the rows of the predicted keeps among unlabelled films, highest probability first."""
    unlabelled = results["label_source"].is_null().to_numpy()
    wanted = np.flatnonzero(unlabelled & results["predicted"].to_numpy())
    # Ties by key, which is the order of the rows.
    order = np.argsort(-results["probability"].to_numpy()[wanted], kind="stable")
    rows: NDArray[np.intp] = wanted[order]
    return rows


def counts(column: pa.ChunkedArray) -> dict[Any, int]:
    """Return how often each value occurs in a column."""
    return {v["values"]: v["counts"] for v in pc.value_counts(column).to_pylist()}

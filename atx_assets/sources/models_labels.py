"""How the file of extracted rows names the labels of reviewed rows that a model gave.

Not here: how these are recognised (`observed_labels.py`). Imports no database.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import pyarrow as pa

_KEY = b"atx_by_model"


def models_labels_metadata(keys: Iterable[str]) -> dict[bytes, str]:
    """Return the metadata of a parquet file that names these keys; none if there are none."""
    named = sorted(keys)
    return {_KEY: json.dumps(named)} if named else {}


def models_labels_in(rows: pa.Table) -> frozenset[str]:
    """Return the keys that the file of these rows names.

    Args:
        rows: as read, with the file's metadata.
    """
    return frozenset(json.loads((rows.schema.metadata or {}).get(_KEY, b"[]")))

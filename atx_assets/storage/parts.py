"""What a table was made from, as parquet files store it: the fingerprints of its parts.

Not here: other files, whose sums beside them hold it (`checksums.py`), nor the code that uses it
(`data_folder.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

#: The name under which parquet files store what they were made from, and the key in it.
_CARRIED, _MADE_FROM = b"atx", "made_from"


def with_parts(schema: pa.Schema, parts: Mapping[str, str]) -> pa.Schema:
    """Return the schema of a table with the fingerprints of what it was made from attached."""
    if not parts:
        return schema
    metadata = dict(schema.metadata or {})
    said = json.loads(metadata.get(_CARRIED, b"{}"))
    carried = {**said, _MADE_FROM: dict(sorted(parts.items()))}
    return schema.with_metadata({**metadata, _CARRIED: json.dumps(carried).encode()})


def parts_of(table: pa.Table) -> dict[str, str]:
    """Return what `with_parts` attached; nothing if it did not."""
    said = json.loads((table.schema.metadata or {}).get(_CARRIED, b"{}"))
    parts: dict[str, str] = said.get(_MADE_FROM, {})
    return parts

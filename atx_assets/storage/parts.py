"""What a table was made from, as parquet files store it: the fingerprints of its parts.

Not here: other files, whose sums beside them hold it (`checksums.py`), nor the code that uses it
(`data_folder.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

#: The name under which our parquet files carry what is known of them, as JSON; and the key in it
#: for what they were made from.
CARRIED, _MADE_FROM = b"atx", "made_from"


def carried_by(schema: pa.Schema) -> dict[str, Any]:
    """Return what a file of ours carries beside its rows; nothing if it is another's."""
    carried: dict[str, Any] = json.loads((schema.metadata or {}).get(CARRIED, b"{}"))
    return carried


def with_parts(schema: pa.Schema, parts: Mapping[str, str]) -> pa.Schema:
    """Return the schema of a table with the fingerprints of what it was made from attached."""
    if not parts:
        return schema
    carried = {**carried_by(schema), _MADE_FROM: dict(sorted(parts.items()))}
    metadata = {**(schema.metadata or {}), CARRIED: json.dumps(carried).encode()}
    return schema.with_metadata(metadata)


def parts_of(table: pa.Table) -> dict[str, str]:
    """Return what `with_parts` attached; nothing if it did not."""
    parts: dict[str, str] = carried_by(table.schema).get(_MADE_FROM, {})
    return parts

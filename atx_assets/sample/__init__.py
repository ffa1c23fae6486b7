"""The sample library that ships with the project: where its file is, and how to recognise it.

This folder's README.md says what is in the file, and what is made up. The script that made it is
`make_library`, which no other module imports.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

LIBRARY: Path = Path(__file__).with_name("library.parquet")
"""One parquet file in the `media` layout, one row per release, ordered by hash."""

MADE_UP = "the viewer is made up: this is the sample library"


def is_sample(hashes: pa.ChunkedArray) -> bool:
    """Return whether there are releases and all of them belong to the sample library."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    ours = pq.read_table(LIBRARY, columns=["hash"])["hash"].combine_chunks()
    return 0 < len(hashes) <= len(ours) and bool(pc.all(pc.is_in(hashes, ours)).as_py())

"""The sample library that ships with the project: where its file is, and nothing that reads it.

What is in the file, and what of it is made up, is told in this folder's README.md; the script that
made it is `make_library`, which no other module imports.
"""

from collections.abc import Iterable
from pathlib import Path

LIBRARY: Path = Path(__file__).with_name("library.parquet")
"""One parquet file in the `media` layout, one row a release, ordered by hash."""

MADE_UP = "the viewer is made up: this is the sample library"


def strangers(hashes: Iterable[str]) -> int:
    """Count the releases, named by their hashes, that are not of the sample library."""
    import pyarrow.parquet as pq

    ours = set(pq.read_table(LIBRARY, columns=["hash"])["hash"].to_pylist())
    return sum(each not in ours for each in hashes)

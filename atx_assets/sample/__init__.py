"""The sample library that ships with the project: where its file is, and nothing that reads it.

What is in the file, and what of it is made up, is told in this folder's README.md; the script that
made it is `make_library`, which no other module imports.
"""

from pathlib import Path

LIBRARY: Path = Path(__file__).with_name("library.parquet")
"""One parquet file in the `media` layout, one row a release, ordered by hash."""

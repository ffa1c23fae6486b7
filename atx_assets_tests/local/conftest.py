"""Homes for the tests of the embedded servers; whatever still runs in them ends with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home(server_folder: Path, end_all_of: Callable[[Path], None]) -> Iterator[Path]:
    """A home that does not exist yet, in a plain path."""
    path = server_folder / "h"
    yield path
    end_all_of(path)

"""What the tests of `atx up` share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from atx_assets.web.processes import Children


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    """The children of a process of ours, ended with the test."""
    started = Children(tmp_path)
    yield started
    started.end()

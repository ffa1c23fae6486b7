"""The processors that threads are started for: those that this process may use."""

import os
from pathlib import Path

import pytest

from atx_assets.learning.processors import usable_processors


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_a_process_that_may_use_one_processor_starts_one_thread() -> None:
    """Kept out: a thread for each core of the machine, in a container that has two of them."""
    before = os.sched_getaffinity(0)
    assert usable_processors() <= len(before)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_processors() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("files", "limited"),
    [
        ({"cpu.max": "50000 100000\n"}, True),  # a container's, version 2
        ({"a.slice/cpu.max": "100000 100000\n"}, True),  # of a group above, as systemd's CPUQuota
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, True),
        ({"cpu.max": "max 100000\n", "a.slice/b.service/cpu.max": "max 100000\n"}, False),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, False),
        ({"cpu.max": "what no kernel says"}, False),
        ({}, False),
    ],
)
def test_a_limit_of_a_container_or_a_service_counts(
    files: dict[str, str], limited: bool, tmp_path: Path
) -> None:
    (tmp_path / "ours").write_text("0::/a.slice/b.service\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = usable_processors(tmp_path, tmp_path / "ours")
    assert found == (1 if limited else usable_processors(tmp_path / "none", tmp_path / "none"))


def test_a_limit_of_more_than_there_is_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("99900000 100000\n")
    none = tmp_path / "none"
    assert usable_processors(tmp_path, none) == usable_processors(none, none)

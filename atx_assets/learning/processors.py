"""How many processors this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OURS = Path("/proc/self/cgroup")


def usable_processors(groups: Path = _GROUPS, ours: Path = _OURS) -> int:
    """Return the number of processors that a container's limit and CPU affinity leave us.

    With the machine's number, a container with two of 64 cores would start 64 threads. They
    would wait for each other, each with its own binned matrix in the container's memory.

    Args:
        groups: where the kernel shows the control groups.
        ours: the file that names the groups of this process.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        count = os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(limit) for limit in _limits(groups, ours))]))


def _limits(groups: Path, ours: Path) -> Iterator[float]:
    """Yield the processors that control groups leave us, in version 2 and version 1."""
    # A container sees its own group as the root; under systemd every group above counts, too.
    for folder in (groups, *_above(groups, ours)):
        yield from _share(folder / "cpu.max")
    for folder in (groups / "cpu", groups / "cpu,cpuacct"):
        quota, period = folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"
        yield from _share(quota, period)


def _above(groups: Path, ours: Path) -> Iterator[Path]:
    try:
        lines = ours.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::/"):
            own = groups / line.removeprefix("0::/")
            yield from (own, *(above for above in own.parents if groups in above.parents))


def _share(*files: Path) -> Iterator[float]:
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        if int(quota) > 0 and int(period) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):  # no limit: "max", -1, or no such file
        return

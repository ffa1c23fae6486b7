"""Limits the memory of this process. Not here: what uses the memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LEAST = 2**29


@contextmanager
def bounded_memory(most: int = 0) -> Iterator[None]:
    """Let this process take at most `most` more bytes, by default half of what is free.

    A request for more raises MemoryError. Without the limit the kernel overcommits, and then kills
    some process of the machine, such as PostgreSQL. Only Linux enforces such a limit.
    """
    import resource

    import psutil

    if sys.platform != "linux":
        yield
        return
    _ready_arrow()
    most = most or max(psutil.virtual_memory().available // 2, _LEAST)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = psutil.Process().memory_info().data + most
    if soft != resource.RLIM_INFINITY:
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _ready_arrow() -> None:
    """Have Arrow reserve its memory before the limit. It is little, as it uses the system's pool.

    See `process_environment.settle_process`.
    """
    import pyarrow as pa

    pa.array([0])

"""How much memory this process may take. Not here: what takes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_LEAST = 2**29


@contextmanager
def bounded_memory(most: int = 0) -> Iterator[None]:
    """Let this process take at most `most` bytes more, by default half of what is free.

    What asks for more gets a MemoryError. Without, the kernel gives what it has not got, and then
    ends some process of the machine: PostgreSQL, say. Linux alone keeps to such a limit.
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
    """Let Arrow have what it takes in advance: little, as its pool is the system's by now.

    See `process_environment.settle_process`.
    """
    import pyarrow as pa

    pa.array([0])

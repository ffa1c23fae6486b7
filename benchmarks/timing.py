"""Fair timing: contenders take turns, each in a process of its own, and medians are compared.

Not here: what is timed, and on what data (`library.py`).
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Run:
    """One run of one contender: wall time, peak memory of its process, and what it reported."""

    seconds: float
    peak_mb: float
    said: Any = None


@dataclass(frozen=True)
class Summary:
    """The medians of a contender's runs; of its memory, the highest."""

    seconds: float
    peak_mb: float
    runs: tuple[Run, ...]


def in_process(script: str, *arguments: str) -> Run:
    """Run `script` with arguments in a fresh interpreter that ends with `report`."""
    done = subprocess.run(
        [sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def report(work: Callable[[], object]) -> None:
    """Time `work` in this process, and print the `Run` for `in_process` to read.

    Imports come before, so that work alone is timed.
    """
    start = time.perf_counter()
    said = work()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mb": peak_mb(), "said": said}))


def take_turns(
    contenders: Iterable[str], runs: int, once: Callable[[str], Run]
) -> dict[str, Summary]:
    """Run every contender `runs` times, one after the other, so that all see the same machine."""
    names = list(contenders)
    found: dict[str, list[Run]] = {name: [] for name in names}
    for turn in range(runs):
        # Whoever goes first after a pause is not always the same.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(once(name))
            print(f"  {turn + 1}/{runs} {name}: {found[name][-1].seconds:.2f} s", file=sys.stderr)
    return {
        name: Summary(
            statistics.median(run.seconds for run in done),
            max(run.peak_mb for run in done),
            tuple(done),
        )
        for name, done in found.items()
    }


def peak_mb() -> float:
    """Return the most memory (resident set, MiB) that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: there, a child begins with the peak of the process that started it.
        line = next(at for at in status.read_text().splitlines() if at.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, its first column to the left and numbers to the right."""
    lines = [tuple(heads), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    for first, *others in lines:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def verdict(what: str, value: float, limit: float, unit: str = "") -> str:
    """Say whether `value` is within `limit`."""
    return f"{what}: {value:.2f}{unit} (to reach: not over {limit:g}{unit}) " + (
        "- reached" if value <= limit else "- MISSED"
    )

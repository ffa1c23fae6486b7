"""Loading the definitions: ours against Dagster alone.

What: CPU time (user and system) of a fresh interpreter that runs `import atx_assets.definitions`,
as every process of Dagster does that loads the project.

Against: the same with `import dagster`. To reach: at most 1.3 times its CPU time.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys

import timing

OURS, PEER = "import atx_assets.definitions", "import dagster"
LIMIT = 1.3


def cpu_seconds(code: str) -> float:
    """User and system time of an interpreter that runs `code`; modules are compiled before."""
    compiled = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], env=compiled, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Take turns, and compare the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    for code in (OURS, PEER):
        cpu_seconds(code)  # compiles, and brings the files into memory
    runs = [{code: cpu_seconds(code) for code in (OURS, PEER)} for _ in range(options.runs)]
    found = {code: statistics.median(run[code] for run in runs) for code in (OURS, PEER)}
    timing.print_table(
        ("", "CPU seconds", "of it"),
        ((code, f"{one:.2f}", f"{one / found[PEER]:.2f}") for code, one in found.items()),
    )
    print(timing.verdict("ours / dagster alone", found[OURS] / found[PEER], LIMIT))


if __name__ == "__main__":
    main()

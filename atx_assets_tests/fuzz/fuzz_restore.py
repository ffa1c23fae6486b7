"""Restores changed backups for some minutes: `python -m atx_assets_tests.fuzz.fuzz_restore`.

Prints each that broke the law (`backups.py`), once a kind, with the number that makes the same file
again: `--only NUMBER`. Ends with status 1 if there was one.
"""

import argparse
import collections
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from atx_assets_tests.fuzz.backups import MUTATIONS, fault_of


def mutant(seed: int) -> tuple[str, bytes]:
    """Make the file of a number: the same each time."""
    rng = random.Random(seed)
    name = rng.choice(list(MUTATIONS))
    return name, MUTATIONS[name](rng)


def main() -> int:
    """Run the fuzz and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    parser.add_argument("--only", type=int, help="one file's number")
    options = parser.parse_args()
    found: collections.Counter[str] = collections.Counter()
    ends: collections.Counter[str] = collections.Counter()
    number = options.seed if options.only is None else options.only
    end = time.monotonic() + options.minutes * 60
    with tempfile.TemporaryDirectory(prefix="atx-fuzz-") as folder:
        while time.monotonic() < end:
            name, content = mutant(number)
            said, fault = fault_of(content, Path(folder))
            ends["restored" if said.startswith("restored") else "refused"] += 1
            if fault:
                kind = f"{name}: {re.sub(r'[0-9]+', 'N', fault)[:120]}"
                found[kind] += 1
                if found[kind] == 1:
                    print(f"{number} {name}: {fault}: {said[:200]!r}", flush=True)
            elif options.only is not None:
                print(said)
            if options.only is not None:
                break
            number += 1
    print(f"{sum(ends.values()):,} backups: {dict(ends)}")
    for kind, count in found.most_common():
        print(f"  {count:,} x {kind}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""Loads mutated parquet files for some minutes: `python -m atx_assets_tests.fuzz.fuzz_load`.

Prints each load that broke the law (`loading.py`), once a kind, with the number that makes the same
file again: `--only NUMBER`. Ends with status 1 if there was one.
"""

import argparse
import collections
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.sample import LIBRARY
from atx_assets.settings import ROOT, Database
from atx_assets_tests.fuzz.loading import Loading
from atx_assets_tests.fuzz.mutations import MUTATIONS

#: Rows of a mutant; the table holds the first half of them already.
ROWS = 120


def mutant(seed: int, rows: pa.Table) -> tuple[str, bytes]:
    """Make the file of a number: the same each time."""
    rng = random.Random(seed)
    while True:
        name = rng.choice(list(MUTATIONS))
        try:
            return name, MUTATIONS[name](rng, rows)
        except (pa.ArrowException, OSError, OverflowError, TypeError, ValueError):
            continue  # not every mixture of types and values can be written


def base(layout: str) -> pa.Table:
    """Some rows of a layout: of a real export if there is one."""
    export = ROOT.parent / "shared" / "data" / f"{layout}.parquet"
    path = export if export.is_file() else LIBRARY
    return pq.read_table(path).slice(0, ROWS).combine_chunks()


def main() -> int:
    """Run the fuzz and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0, help="number of the first file")
    parser.add_argument("--layout", choices=["media", "training"], default="media")
    parser.add_argument("--only", type=int, help="one file's number")
    parser.add_argument("--keep", type=Path, help="a folder for the files that broke the law")
    options = parser.parse_args()
    rows = base(options.layout)
    folder = Path(tempfile.mkdtemp(prefix="atx-fuzz-"))
    found: collections.Counter[str] = collections.Counter()
    ends: collections.Counter[str] = collections.Counter()
    try:
        with EmbeddedPostgres(folder) as server:
            server.ensure_database("fuzz")
            database = Database(server.host, server.port, "fuzz", server.user)
            loading = Loading(database, rows.slice(0, ROWS // 2), folder)
            end = time.monotonic() + options.minutes * 60
            number = options.seed if options.only is None else options.only
            while time.monotonic() < end:
                name, content = mutant(number, rows)
                started = time.monotonic()
                # `atx load` has 512 MB at least. Of less than 100 MB Arrow aborts over a footer.
                memory = random.Random(number).choice([2**27, 2**28, *[2**30] * 5])
                outcome = loading.load(content, memory=memory)
                took = time.monotonic() - started
                ends["loaded" if outcome.counts else "refused"] += 1
                fault = outcome.fault or (f"took {took:.0f} s" if took > 30 else "")
                if fault:
                    kind = f"{name}: {re.sub(r'[0-9]+', 'N', fault)[:120]}"
                    found[kind] += 1
                    if found[kind] == 1:
                        print(f"{number} {name} ({took:.1f} s): {fault}", flush=True)
                        if options.keep:
                            options.keep.mkdir(exist_ok=True)
                            (options.keep / f"{number}.parquet").write_bytes(content)
                elif options.only is not None:
                    print(outcome)
                if options.only is not None:
                    break
                number += 1
            loading.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{sum(ends.values()):,} files of the {options.layout} layout: {dict(ends)}")
    for kind, count in found.most_common():
        print(f"  {count:,} x {kind}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

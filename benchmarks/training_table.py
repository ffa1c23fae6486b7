"""Building the training table from 1,000,000 titles: ours against scikit-learn.

What: from the Arrow table of titles (as `sources/titles.py` makes them, all of them training
rows, media layout) to named feature columns: learning the encoding (`fit_encoding`) and making
the columns (`FeatureEncoding.table`), with unknown values removed and the ratings on one scale.
Reading and writing files and imports are excluded on both sides.

Against: the same columns by scikit-learn: `MinMaxScaler` over the numbers, `MultiLabelBinarizer`
over each list column. It gets a pandas frame with Python lists; the time to make this frame from
Arrow is shown separately, and does not count.

To reach: 5 times faster. Both must give equal numbers.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing

OURS, PEER = "atx", "scikit-learn"
LIMIT = 5


def atx(titles: Path) -> tuple[Callable[[], dict[str, Any]], float]:
    """Ours: learn the encoding, then make the columns."""
    import pandas  # noqa: F401  (pyarrow imports it at its first scalar; not to be timed)
    import pyarrow.parquet as pq

    from atx_assets.learning.features import fit_encoding
    from atx_assets.sources.layouts import MEDIA

    table = pq.read_table(titles)

    def work() -> dict[str, Any]:
        encoding = fit_encoding(
            table,
            layout=MEDIA.name,
            numeric=MEDIA.numeric,
            categorical=(*MEDIA.lists, *MEDIA.singles),
            zero_is_unknown=MEDIA.zero_is_unknown,
            all_ratings=table["imdb_rating"],
            least_titles={},
        )
        return encoding.table(table)

    return work, 0.0


def scikit_learn(titles: Path) -> tuple[Callable[[], dict[str, Any]], float]:
    """scikit-learn's two preprocessors over a pandas frame."""
    import time

    import numpy as np
    import pandas as pd
    import pyarrow.parquet as pq
    from sklearn.preprocessing import MinMaxScaler, MultiLabelBinarizer

    from atx_assets.learning.features import feature_name
    from atx_assets.sources.layouts import MEDIA

    table = pq.read_table(titles)
    start = time.perf_counter()
    numbers = table.select(MEDIA.numeric).to_pandas()
    lists = {name: table[name].to_pylist() for name in MEDIA.lists}
    frame = numbers.assign(**lists)
    preparing = time.perf_counter() - start

    def work() -> dict[str, Any]:
        wide = frame[list(MEDIA.numeric)].astype(float)
        for name in MEDIA.zero_is_unknown:
            wide[name] = wide[name].replace(0, np.nan)
        rating = wide["imdb_rating"]
        small = (rating < 10) | ((rating == 10) & ((rating < 10).sum() > (rating > 10).sum()))
        wide["imdb_rating"] = rating.where(~small, (rating * 10).round(6))
        scaled = MinMaxScaler(copy=False).fit_transform(wide).astype(np.float32)
        columns = dict(zip((f"{name}_norm" for name in wide), scaled.T, strict=True))
        for name in MEDIA.lists:
            known = [[w for w in words or () if w not in ("", "N/A")] for words in frame[name]]
            binarizer = MultiLabelBinarizer()
            flags = binarizer.fit_transform(known).astype(np.uint8)
            names = (feature_name(name, word) for word in binarizer.classes_)
            columns |= dict(zip(names, flags.T, strict=True))
        return dict(pd.DataFrame(columns, copy=False))

    return work, preparing


CONTENDERS = {OURS: atx, PEER: scikit_learn}


def child(name: str, titles: Path, into: Path) -> None:
    """Time one contender, and leave what it made for the comparison."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made: dict[str, Any] = {}
    work, preparing = CONTENDERS[name](titles)

    def timed() -> float:
        made.update(work())
        return preparing

    timing.report(timed)
    pq.write_table(pa.table({column: pa.array(values) for column, values in made.items()}), into)


def make_titles(rows: int, into: Path) -> None:
    """Write as many titles, in a process of its own: its memory is gone afterwards."""
    import library
    import pyarrow.parquet as pq

    from atx_assets.sources.layouts import MEDIA
    from atx_assets.sources.titles import titles

    releases = library.releases(rows, titles=rows, labelled=1, films=1)
    pq.write_table(titles(releases, MEDIA), into)


def equal(ours: Path, theirs: Path) -> str:
    """Make sure that two files hold equal numbers, and say how many."""
    import numpy as np
    import pyarrow.parquet as pq

    left, right = pq.read_table(ours), pq.read_table(theirs)
    if sorted(left.column_names) != sorted(right.column_names):
        raise SystemExit(f"other columns: {set(left.column_names) ^ set(right.column_names)}")
    for name in left.column_names:
        one, other = left[name].to_numpy(), right[name].to_numpy()
        # scikit-learn scales by a multiplication, which rounds the last digit otherwise.
        if not np.allclose(one, other, rtol=0, atol=1e-6, equal_nan=True):
            raise SystemExit(f"the numbers in {name} differ")
    return f"{left.num_rows:,} titles, {left.num_columns} features, equal numbers"


def main() -> None:
    """Take turns, compare the medians and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, titles, into = options.child
        if name == "make":
            timing.report(lambda: make_titles(options.rows, Path(into)))
        else:
            child(name, Path(titles), Path(into))
        return
    with tempfile.TemporaryDirectory(prefix="atx-bench-") as folder:
        titles = Path(folder, "titles.parquet")

        def run(name: str) -> timing.Run:
            into = titles if name == "make" else Path(folder, f"{name}.parquet")
            rows = str(options.rows)
            return timing.in_process(
                __file__, "--rows", rows, "--child", name, str(titles), str(into)
            )

        run("make")
        found = timing.take_turns(CONTENDERS, options.runs, run)
        print(equal(Path(folder, f"{OURS}.parquet"), Path(folder, f"{PEER}.parquet")))
    timing.print_table(
        ("", "seconds", "times ours", "peak MB", "frame from Arrow, seconds"),
        (
            (
                name,
                f"{one.seconds:.2f}",
                f"{one.seconds / found[OURS].seconds:.2f}",
                f"{one.peak_mb:.0f}",
                f"{one.runs[0].said:.2f}",
            )
            for name, one in found.items()
        ),
    )
    times = found[PEER].seconds / found[OURS].seconds
    reached = "reached" if times >= LIMIT else "MISSED"
    print(f"scikit-learn / ours: {times:.2f} (to reach: at least {LIMIT}) - {reached}")


if __name__ == "__main__":
    main()

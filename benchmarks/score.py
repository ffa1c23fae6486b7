"""Scoring 1,000,000 titles from parquet to parquet: ours against asking the model alone.

What: from a parquet file of titles (as `sources/titles.py` makes them, media layout, some 4,000
labelled) to the results file: reading, encoding, the champion (200 trees, depth 7), the
out-of-fold models of the labelled titles, all columns of `scored_results`, writing. It does what
the asset does; the bundle is made beforehand, and read within the time.

Against: reading the ready dense float32 matrix from parquet, `inplace_predict` of the same model,
writing keys and probabilities. The matrix is tried in two forms, one column per feature and one
fixed-size list per row, and the faster one counts.

To reach: at most 3 times its time. Both must give the same probabilities. Imports are excluded on
both sides. For information, also: sorting 1,000,000 releases by the source's contract, and making
titles from them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import timing

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from atx_assets.learning.features import FeatureEncoding

OURS, SORTING, TITLES = "atx", "sorting of releases", "titles of releases"
PEERS = ("matrix of columns", "matrix of rows")
LIMIT = 3
RECIPE = {"max_depth": 7, "n_estimators": 200, "learning_rate": 0.1, "subsample": 0.8}
#: Rows of the matrix that are made and written at once.
BATCH = 65_536


def make(rows: int, folder: Path) -> None:
    """Write what the contenders read: titles, releases, bundle, both forms of the matrix."""
    import library
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from atx_assets.learning.features import fit_encoding
    from atx_assets.sources.layouts import MEDIA
    from atx_assets.sources.titles import titles

    pq.write_table(
        library.releases(rows, titles=rows * 2 // 3),
        folder / "releases.parquet",
        compression="zstd",
    )
    made = titles(library.releases(rows, titles=rows, labelled=0.004, films=1), MEDIA)
    pq.write_table(made, folder / "titles.parquet", compression="zstd")
    training = made.filter(made["trains"])
    encoding = fit_encoding(
        training,
        layout=MEDIA.name,
        numeric=MEDIA.numeric,
        categorical=(*MEDIA.lists, *MEDIA.singles),
        zero_is_unknown=MEDIA.zero_is_unknown,
        all_ratings=made["imdb_rating"],
        least_titles={},
    )
    promote(training, encoding, folder)

    plain = pa.schema([("key", pa.string()), *((n, pa.float32()) for n in encoding.names)])
    width = len(encoding.names)
    listed = pa.schema([("key", pa.string()), ("matrix", pa.list_(pa.float32(), width))])
    with (
        pq.ParquetWriter(folder / "columns.parquet", plain) as columns,
        pq.ParquetWriter(folder / "rows.parquet", listed) as lists,
    ):
        for start in range(0, rows, BATCH):
            batch = made.slice(start, BATCH)
            key, matrix = batch["key"].combine_chunks(), encoding.matrix(batch)
            by_column = [pa.array(np.ascontiguousarray(column)) for column in matrix.T]
            columns.write_table(pa.table([key, *by_column], schema=plain))
            flat = pa.array(matrix.ravel())
            by_row = pa.FixedSizeListArray.from_arrays(flat, width)
            lists.write_table(pa.table([key, by_row], schema=listed))


def promote(training: pa.Table, encoding: FeatureEncoding, folder: Path) -> None:
    """Train a bundle on the labelled titles and make it the champion of `folder`."""
    import numpy as np
    import pyarrow as pa

    from atx_assets.defs.resources.files import DataFiles
    from atx_assets.learning.evaluation import out_of_fold
    from atx_assets.learning.folds import SEEDS
    from atx_assets.learning.identity import names_and_years
    from atx_assets.learning.models import fit
    from atx_assets.models.bundles import Bundles
    from atx_assets.models.new_bundle import NewBundle

    matrix = encoding.matrix(training)
    # A taste that can be learned, with some noise: models of pure noise have larger trees.
    liking = np.nan_to_num(matrix[:, encoding.names.index("rt_score_norm")], nan=0.4)
    liking += np.random.default_rng(0).normal(0, 0.1, len(matrix))
    labels = (liking + 0.2 * matrix[:, encoding.names.index("genre_drama")] > 0.6).astype(int)
    blind = out_of_fold(matrix, labels, RECIPE)
    named = names_and_years(training)
    learned_from = {"key": training["key"], "named": named, "label": pa.array(labels == 1)}
    learned_from |= {f"seed{seed}": blind.assignment[seed] for seed in SEEDS}
    bundles = Bundles(DataFiles(directory=str(folder)))
    new = NewBundle(
        model=fit(matrix, labels, RECIPE),
        fold_models=blind.models,
        encoding=encoding,
        learned_from=pa.table(learned_from),
        about={"hyperparameters": RECIPE, "threshold": 0.5, "quality": {}},
    )
    bundles.promote(bundles.keep(new))


def atx(folder: Path) -> Callable[[], object]:
    """Ours, with the calls of the asset `scored_results`."""
    import pandas  # noqa: F401  (pyarrow imports it at its first scalar; not to be timed)
    import xgboost  # noqa: F401

    from atx_assets import schemas
    from atx_assets.defs.resources.files import DataFiles
    from atx_assets.models.bundles import Bundles
    from atx_assets.models.scoring import scored_parts

    files = DataFiles(directory=str(folder))

    def work() -> None:
        schema = schemas.arrow_schema(schemas.SCORED_RESULTS)
        with files.writing_table("scored_results", schema) as writer:
            for scored in scored_parts(files, Bundles(files).champion()):
                writer.write_table(scored)

    return work


def ready_matrix(folder: Path, form: str) -> Callable[[], object]:
    """The model alone, over a matrix that somebody else has made."""
    import pandas  # noqa: F401
    import pyarrow as pa
    import pyarrow.parquet as pq
    import xgboost as xgb

    read = dense_of_columns if form == PEERS[0] else dense_of_rows

    def work() -> None:
        model = xgb.Booster(model_file=str(folder / "binomial_classifier.ubj"))
        keys, matrix = read(folder)
        probability = model.inplace_predict(matrix)
        pq.write_table(
            pa.table({"key": keys, "probability": probability}),
            folder / f"{form}.parquet",
            compression="zstd",
        )

    return work


def dense_of_columns(folder: Path) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Read a column a feature."""
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "columns.parquet")
    matrix = np.empty((table.num_rows, table.num_columns - 1), np.float32)
    done = 0
    # Batch by batch, so that the turned rows stay in the processor's cache.
    for batch in table.to_batches():
        part = np.stack([column.to_numpy() for column in batch.columns[1:]], axis=1)
        matrix[done : done + batch.num_rows] = part
        done += batch.num_rows
    return table["key"], matrix


def dense_of_rows(folder: Path) -> tuple[pa.ChunkedArray, np.ndarray]:
    """Read a row a list of fixed size."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "rows.parquet")
    lists = table["matrix"].combine_chunks()
    return table["key"], lists.flatten().to_numpy().reshape(len(lists), -1)


def titles_of_releases(folder: Path) -> Callable[[], object]:
    """`titles` over releases that are in memory."""
    import pandas  # noqa: F401
    import pyarrow.parquet as pq

    from atx_assets.sources.layouts import MEDIA
    from atx_assets.sources.titles import titles

    releases = pq.read_table(folder / "releases.parquet")
    return lambda: titles(releases, MEDIA).num_rows


def sorting_of_releases(folder: Path) -> Callable[[], object]:
    """`sort_rows` over the columns of releases that atx uses, in memory."""
    import pandas  # noqa: F401
    import pyarrow.parquet as pq

    from atx_assets.sources.contract import sort_rows
    from atx_assets.sources.layouts import MEDIA

    releases = pq.read_table(folder / "releases.parquet")
    return lambda: sort_rows(releases, MEDIA).quarantined


def child(name: str, rows: int, folder: Path) -> None:
    """Do one contender's work in this process."""
    if name == "make":
        timing.report(lambda: make(rows, folder))
    elif name == OURS:
        timing.report(atx(folder))
    elif name == SORTING:
        timing.report(sorting_of_releases(folder))
    elif name == TITLES:
        timing.report(titles_of_releases(folder))
    else:
        timing.report(ready_matrix(folder, name))


def same_probabilities(folder: Path) -> str:
    """Make sure that ours are the peer's, bit for bit."""
    import pyarrow.parquet as pq

    ours = pq.read_table(folder / "binomial_classifier_results.parquet")
    for form in PEERS:
        theirs = pq.read_table(folder / f"{form}.parquet")
        if not (
            theirs["key"].equals(ours["key"])
            and theirs["probability"].cast("double").equals(ours["probability_in_sample"])
        ):
            raise SystemExit(f"the probabilities of {form} are not ours")
    blind = ours.num_rows - ours["actual"].null_count
    return f"{ours.num_rows:,} titles, the same probabilities; {blind:,} out of fold besides"


def main() -> None:
    """Take turns, compare the medians and the probabilities."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.rows, Path(options.child[1]))
        return
    with tempfile.TemporaryDirectory(prefix="atx-bench-") as folder:

        def run(name: str) -> timing.Run:
            return timing.in_process(__file__, "--rows", str(options.rows), "--child", name, folder)

        run("make")
        found = timing.take_turns((OURS, *PEERS, SORTING, TITLES), options.runs, run)
        print(same_probabilities(Path(folder)))
    best = min(found[form].seconds for form in PEERS)
    timing.print_table(
        ("", "seconds", "of the faster peer", "peak MB"),
        (
            (name, f"{one.seconds:.2f}", f"{one.seconds / best:.2f}", f"{one.peak_mb:.0f}")
            for name, one in found.items()
        ),
    )
    print(f"({SORTING}, {TITLES}: {options.rows:,} releases, for information)")
    print(timing.verdict("ours / faster peer", found[OURS].seconds / best, LIMIT))


if __name__ == "__main__":
    main()

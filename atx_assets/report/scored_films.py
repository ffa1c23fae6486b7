"""The films with their scores, and the bundle that gave them: the subject of the whole report.

Not here: texts about a film (`records.py`), which need the models.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from atx_assets.errors import AtxError
from atx_assets.learning.identity import as_learned
from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles
from atx_assets.sources.extracted import read_titles
from atx_assets.storage.data_folder import FILES, DataFolder
from atx_assets.storage.parts import parts_of


@dataclass(frozen=True)
class Scored:
    """Films with their scores, row by row, and the bundle that gave them."""

    titles: pa.Table
    results: pa.Table
    bundle: Bundle


def read_scored(files: DataFolder) -> Scored:
    """Read the scores, and find the films and the bundle that they belong to.

    Raises:
        AtxError: the scores were made from other titles or by another model than the current ones.
    """
    files.require("scored_results", "titles")
    titles, results = read_titles(files), files.read_table("scored_results")
    bundle = Bundles(files).version(results["model_version"][0].as_py())
    if parts_of(results)["bundle"] != bundle.digest:
        raise AtxError(
            f"{FILES['scored_results']} was made by another version {bundle.version} of the model "
            "than the current one: run `atx run --job score`"
        )
    return Scored(as_learned(titles, bundle.learned_from), results, bundle)

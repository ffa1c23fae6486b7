"""Reads an export of a real library as titles, for the benchmarks that need one."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from atx_assets import schemas
from atx_assets.defs.assets.training import least_titles
from atx_assets.learning.features import FeatureEncoding, fit_encoding
from atx_assets.settings import read_settings
from atx_assets.sources.layouts import MEDIA, TRAINING
from atx_assets.sources.titles import titles


def read_export(path: Path) -> tuple[Any, Any, FeatureEncoding]:
    """Return the films of an export of either layout, its training titles, and their encoding."""
    exported = pq.read_table(path)
    layout = MEDIA if "rejection_status" in exported.column_names else TRAINING
    known = tuple(c for c in layout.columns if c.name in exported.column_names)
    rows = exported.select([c.name for c in known]).cast(schemas.arrow_schema(known))
    films = titles(rows.sort_by(layout.key), layout)
    training = films.filter(films["trains"])
    encoding = fit_encoding(
        training,
        layout=layout.name,
        numeric=layout.numeric,
        categorical=(*layout.lists, *layout.singles),
        zero_is_unknown=layout.zero_is_unknown,
        all_ratings=films["imdb_rating"],
        least_titles=least_titles(layout, read_settings({})),
    )
    return films, training, encoding

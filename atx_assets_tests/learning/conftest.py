"""Titles, encodings and bundles in memory, made up or of a real library, for the learning tests."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost as xgb

from atx_assets import schemas
from atx_assets.defs.assets.training import least_titles
from atx_assets.learning import contenders
from atx_assets.learning.evaluation import OutOfFold, out_of_fold
from atx_assets.learning.features import FeatureEncoding, fit_encoding
from atx_assets.learning.identity import names_and_years
from atx_assets.learning.models import fit
from atx_assets.operating_point import OperatingPoint
from atx_assets.settings import read_settings
from atx_assets.sources.layouts import LAYOUTS, Layout
from atx_assets.sources.titles import titles

#: The contract's plain XGBoost.
PLAIN = {
    "max_depth": 3,
    "learning_rate": 0.1,
    "n_estimators": 100,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
}
TYPES = {c.name: c.type for c in (*schemas.MEDIA, *schemas.TRAINING)}
RARE = 5


def make_table(layout: str = "media", **columns: Sequence[Any]) -> pa.Table:
    """Titles with these source columns; the layout's other features are unknown."""
    rows = len(next(iter(columns.values())))
    known = {name: columns.get(name, [None] * rows) for name in LAYOUTS[layout].features}
    known = {
        name: pa.array(values, schemas.arrow_type(TYPES[name])) for name, values in known.items()
    }
    others = {name: values for name, values in columns.items() if name not in known}
    names = pa.array([f"Film {n}" for n in range(rows)], pa.string())
    return pa.table({"media_title": names} | known | others)


def make_encoding(
    training: pa.Table,
    layout: str = "media",
    *,
    films: pa.Table | None = None,
    least_titles: Mapping[str, int] | None = None,
) -> FeatureEncoding:
    """The encoding that the training titles give; `films` are all films, when there are more."""
    known: Layout = LAYOUTS[layout]
    return fit_encoding(
        training,
        layout=layout,
        numeric=known.numeric,
        categorical=(*known.lists, *known.singles),
        zero_is_unknown=known.zero_is_unknown,
        all_ratings=(films or training)["imdb_rating"],
        least_titles=least_titles or {},
    )


@pytest.fixture(scope="session")
def table() -> Callable[..., pa.Table]:
    return make_table


@pytest.fixture(scope="session")
def encoding_of() -> Callable[..., FeatureEncoding]:
    return make_encoding


@dataclass(frozen=True)
class Taught:
    """The training rows of a library, ready for a model."""

    titles: pa.Table
    encoding: FeatureEncoding
    matrix: np.ndarray
    labels: np.ndarray

    @property
    def keys(self) -> list[str]:
        return self.titles["key"].to_pylist()


def taught(films: pa.Table, layout: str, least_titles: Mapping[str, int]) -> Taught:
    training = films.filter(films["trains"])
    encoding = make_encoding(training, layout, films=films, least_titles=least_titles)
    labels = training["label"].to_numpy().astype(int)
    return Taught(training, encoding, encoding.matrix(training), labels)


@cache
def real_library(path: Path, layout: str, least_companies: int) -> Taught:
    exported = pq.read_table(path)
    known = tuple(c for c in LAYOUTS[layout].columns if c.name in exported.column_names)
    rows = exported.select([c.name for c in known]).cast(schemas.arrow_schema(known))
    films = titles(rows.sort_by(LAYOUTS[layout].key), LAYOUTS[layout])
    least = least_titles(LAYOUTS[layout], read_settings({}))
    if "production_companies" in least:
        least["production_companies"] = least_companies
    return taught(films, layout, least)


@pytest.fixture
def real(shared_data: Path) -> Callable[..., Taught]:
    """The training rows of a real library."""

    def read(layout: str, *, companies: bool = True) -> Taught:
        least = RARE if companies else 1_000_000
        return real_library(shared_data / f"{layout}.parquet", layout, least)

    return read


@dataclass(frozen=True)
class Measured:
    """A recipe's models of every fold of a real library, and their measures in each fold."""

    library: Taught
    held_out: OutOfFold
    by_fold: dict[str, list[float]]


@cache
def measured_library(path: Path, layout: str) -> Measured:
    library = real_library(path, layout, 1_000_000)
    held_out = out_of_fold(library.matrix, library.labels, PLAIN)
    model = contenders.model(library.labels, held_out)
    return Measured(library, held_out, model.by_fold(OperatingPoint()))


@pytest.fixture
def measured(shared_data: Path) -> Callable[[str], Measured]:
    """The plain model on a real library, without companies; made once."""
    return lambda layout: measured_library(shared_data / f"{layout}.parquet", layout)


@pytest.fixture
def protocol(shared_data: Path) -> ModuleType:
    """The program that the contract's numbers were measured with."""
    path = shared_data.parent / "tools" / "protocol.py"
    spec = importlib.util.spec_from_file_location("protocol", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def made_up_films(count: int = 300) -> pa.Table:
    """Films with a taste in them, the last sixth unlabelled, as `sources/titles.py` makes them."""
    draw = np.random.default_rng(7)
    genres = np.array(["Drama", "Comedy", "Horror", "Sci-Fi"])
    genre = [sorted(set(draw.choice(genres, 2))) for _ in range(count)]
    metascore = draw.integers(20, 100, count)
    unknown = draw.random(count) < 0.2
    taste = (metascore > 60) ^ np.array(["Horror" in g for g in genre])
    keep = np.where(draw.random(count) < 0.1, ~taste, taste)
    labelled = np.arange(count) < count - count // 6
    return make_table(
        key=[f"tt{n:07}" for n in range(count)],
        label=pa.array(np.where(labelled, keep, None), pa.bool_()),
        label_source=pa.array(np.where(labelled, "rule", None), pa.string()),
        trains=labelled,
        metascore=[None if u else int(m) for m, u in zip(metascore, unknown, strict=True)],
        release_year=[int(year) for year in draw.integers(1950, 2025, count)],
        imdb_rating=[float(r) for r in draw.integers(20, 95, count) / 10],
        genre=genre,
        language=[["English"] if n % 3 else ["French", "English"] for n in range(count)],
    )


@pytest.fixture(scope="session")
def films() -> pa.Table:
    return made_up_films()


@pytest.fixture(scope="session")
def made_up(films: pa.Table) -> Taught:
    """The labelled ones of the made-up films."""
    return taught(films, "media", {})


@dataclass(frozen=True)
class MemoryBundle:
    """A bundle that was never saved; `asked` counts how often each fold's model was asked for."""

    encoding: FeatureEncoding
    model: xgb.Booster
    learned_from: pa.Table
    fold_models: list[list[xgb.Booster]]
    asked: list[tuple[int, int]] = field(default_factory=list)

    def fold_model(self, seed: int, fold: int) -> xgb.Booster:
        self.asked.append((seed, fold))
        return self.fold_models[seed][fold]


@pytest.fixture(scope="session")
def bundle(made_up: Taught) -> MemoryBundle:
    recipe = PLAIN | {"n_estimators": 20}
    held_out = out_of_fold(made_up.matrix, made_up.labels, recipe)
    learned = {"key": made_up.titles["key"], "named": names_and_years(made_up.titles)}
    learned |= {f"seed{s}": pa.array(folds) for s, folds in enumerate(held_out.assignment)}
    model = fit(made_up.matrix, made_up.labels, recipe)
    return MemoryBundle(made_up.encoding, model, pa.table(learned), held_out.models)

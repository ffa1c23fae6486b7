"""A bundle: the folder of one version of the model, with everything that this version needs.

Model, encoding, hyperparameters, threshold, the models of the folds, quality, and what it learned
from. XGBoost is imported when a model is needed (`boosters.py`), and not here: its import takes
longer than everything else in a command that only looks at versions. Not here either: which
version is champion (`bundles.py`), how one is written (`new_bundle.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from atx_assets.errors import DamagedError, FileError
from atx_assets.learning.features import NORMAL, FeatureEncoding
from atx_assets.storage.checksums import is_damaged
from atx_assets.text import key_in_normal_form

if TYPE_CHECKING:
    import xgboost as xgb

#: In `bundle.json`; another number means that another release made the bundle.
FORMAT = 2
MODEL, ENCODING, LEARNED, ABOUT = (
    "model.ubj",
    "feature_encoding.json",
    "learned_from.parquet",
    "bundle.json",
)
#: Not part of what makes a version: what is known of it, which may change later.
QUALITY, JUDGED = "quality.json", "promotion.json"


@dataclass(frozen=True)
class Bundle:
    """One version on disk; its files are read when needed."""

    folder: Path
    version: int

    @cached_property
    def about(self) -> dict[str, Any]:
        """`hyperparameters`, `operating_point`, `threshold`, `quality`, `learned_from`, `files`.

        `files` are the sha256 of the files that make the version; `answers` has the `xgboost`
        that made it, and the `sha256` of what its models answered then (see `fingerprint`).

        Raises:
            DamagedError: an earlier or later atx made it, or it is not as it was saved.
        """
        about: dict[str, Any] = self._json(ABOUT)
        if about.get("format") != FORMAT:
            raise DamagedError(
                f"version {self.version} of the model was made by {_other(about)}: run full_rebuild"
            )
        return {**about, "quality": self._json(QUALITY)}

    @cached_property
    def digest(self) -> str:
        """A sha256 over all that makes this version: it differs from every other version's."""
        return hashlib.sha256(self._text(ABOUT).encode()).hexdigest()

    @property
    def judged(self) -> dict[str, Any]:
        """How it was judged when it was made: `promoted`, `reason`, and the champion then."""
        return self._json(JUDGED) if (self.folder / JUDGED).exists() else {}

    @property
    def made(self) -> datetime:
        """When it was saved, in local time; its files hold no time, so that they can be equal."""
        return datetime.fromtimestamp((self.folder / ABOUT).stat().st_mtime).astimezone()

    @property
    def threshold(self) -> float:
        """The lowest probability that counts as a keep."""
        return float(self.about["threshold"])

    @cached_property
    def encoding(self) -> FeatureEncoding:
        """The encoding that the model's features were made with."""
        return FeatureEncoding.from_json(self._read(ENCODING).decode())

    @cached_property
    def model(self) -> xgb.Booster:
        """The model that learned from every training row."""
        return self._booster(MODEL)

    @cached_property
    def learned_from(self) -> pa.Table:
        """One row per title: its label, and how it relates to the models of the folds.

        `key`, `media_title`, `named`, `label`, `label_source`, `hash` and `tmdb_id` (bundles of an
        earlier atx lack the last two); `seed0` to `seed4`, the fold in which
        the row was held out; `sceptical`, the probability of a keep by which labels are doubted
        (see `learning/review.py`).
        """
        # In this thread only. If a thread of Arrow's releases these bytes, which belong to Python,
        # while the program ends, the program aborts.
        file = pq.ParquetFile(pa.BufferReader(self._read(LEARNED)), pre_buffer=False)
        learned = file.read(use_threads=False)
        # An earlier release made other keys: its titles would not be recognised.
        return learned if self.encoding.text_form == NORMAL else _in_normal_form(learned)

    def same_as(self, other: Bundle) -> bool:
        """Return whether this one is whole, and the same version as the other to the last byte."""
        try:
            return self.digest == other.digest and self.is_whole
        except (OSError, ValueError, FileError):
            return False

    def has_quality(self, record: bytes) -> bool:
        """Return whether this is the record of its quality."""
        path = self.folder / QUALITY
        return path.exists() and path.read_bytes() == record and not is_damaged(path)

    @property
    def is_whole(self) -> bool:
        """Return whether every file is as it was saved, and the models answer as then."""
        return self.is_intact and self.answers_as_then

    @property
    def is_intact(self) -> bool:
        """Return whether every file is there, as it was saved."""
        try:
            for name in self.about["files"]:
                self._read(name)
            _ = self.judged
        except (OSError, ValueError, KeyError, FileError):
            return False
        return True

    @property
    def answers_as_then(self) -> bool:
        """Return whether the models answer as they did when they were made."""
        try:
            return self._answers_as_then
        except DamagedError:
            return False

    def require_answers(self) -> None:
        """Require that the models answer as they did when they were made.

        Raises:
            DamagedError: the installed XGBoost reads them differently.
        """
        _ = self._answers_as_then

    @property
    def is_too_old(self) -> bool:
        """Return whether the atx that made it is so old that its bundles are no longer read.

        Raises:
            DamagedError: it is not as it was saved.
        """
        number = self._json(ABOUT).get("format")
        return not isinstance(number, int) or number < FORMAT

    def fold_model(self, seed: int, fold: int) -> xgb.Booster:
        """The model that did not see the rows of one fold under one seed."""
        return self._booster(fold_file(seed, fold))

    def _text(self, name: str) -> str:
        """Read a file that is not in `files`, and verify it as well."""
        path = self.folder / name
        try:
            if is_damaged(path):
                raise self._not_as_saved(name)
            return path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise self._not_as_saved(name) from error

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self._text(name))
        except ValueError as error:  # from an earlier atx, which kept no sum of it
            raise self._not_as_saved(name) from error
        return found

    def _booster(self, name: str) -> xgb.Booster:
        _ = self._answers_as_then
        from atx_assets.models import boosters

        return boosters.read_booster(self._read(name))

    @cached_property
    def _answers_as_then(self) -> bool:
        """Check once whether the models answer as they did when they were made.

        Raises:
            DamagedError: the installed XGBoost reads them differently.
        """
        then = self.about.get("answers")
        if then is None or then["xgboost"] == _xgboost_installed():
            return True
        from atx_assets.models import boosters

        if then["xgboost"] == boosters.VERSION:
            return True
        models = sorted(name for name in self.about["files"] if name.endswith(".ubj"))
        now = boosters.answers_sha256(map(self._read, models), len(self.encoding.names))
        if now != then["sha256"]:
            raise DamagedError(
                f"version {self.version} of the model was made with XGBoost {then['xgboost']}, but "
                f"XGBoost {boosters.VERSION} gives other answers: run full_rebuild, or "
                f"install xgboost-cpu=={then['xgboost']}"
            )
        return True

    def _read(self, name: str) -> bytes:
        """Read a file of the bundle, and check that it is the one that was written."""
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise self._not_as_saved(name) from error
        if hashlib.sha256(content).hexdigest() != self.about["files"].get(name):
            raise self._not_as_saved(name)
        return content

    def _not_as_saved(self, name: str) -> DamagedError:
        others = [n for p in self.folder.parent.iterdir() if (n := p.name) != self.folder.name]
        kept = ", ".join(sorted(filter(str.isdigit, others), key=int))
        # Cheapest first. `atx promote` checks whether that version is whole; here, code that only
        # looks at versions would have to check it.
        if kept:
            fix = f"`atx promote VERSION` scores by another version (versions kept: {kept}), or "
            fix += "restore the folder from a backup"
        else:
            fix = "restore the folder from a backup; to start again without it, remove "
            fix += f"{self.folder.parent} and run full_rebuild"
        return DamagedError(f"{self.folder / name} is not the file that was saved: {fix}")


def _in_normal_form(learned: pa.Table) -> pa.Table:
    """Return what an earlier release recorded, with keys and names in today's form.

    If two titles have become one, the first represents both.
    """
    first: dict[str, int] = {}
    for name in ("key", "named"):
        made = [key_in_normal_form(text) for text in learned[name].to_pylist()]
        at = learned.schema.get_field_index(name)
        learned = learned.set_column(at, name, pa.array(made, pa.string()))
    for row, key in enumerate(learned["key"].to_pylist()):
        first.setdefault(key, row)
    return learned if len(first) == learned.num_rows else learned.take(list(first.values()))


def sync(path: Path) -> None:
    """Make the disk store what was written to a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _xgboost_installed() -> str:
    """Return the version of XGBoost without importing it; "" if two builds differ."""
    versions = set()
    for build in ("xgboost", "xgboost-cpu"):
        with suppress(PackageNotFoundError):
            versions.add(version(build))
    return versions.pop() if len(versions) == 1 else ""


def _other(about: dict[str, Any]) -> str:
    number = about.get("format")
    return "a later atx" if isinstance(number, int) and number > FORMAT else "an earlier atx"


def fold_file(seed: int, fold: int) -> str:
    """Return where in a bundle the model of one fold is."""
    return f"folds/seed{seed}_fold{fold}.ubj"


def as_json(record: dict[str, Any]) -> str:
    """Return a record as JSON text, as bundles store it."""
    # NaN and infinity are not valid JSON; undefined measures are null.
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

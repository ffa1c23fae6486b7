"""The bundles of the models, one folder a version, and which one is the champion.

A bundle holds all that one version needs: model, encoding, hyperparameters, threshold, the
models of the folds, quality, and what it learned from. Not here: making or asking a model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError
from atx_assets.learning.features import FeatureEncoding
from atx_assets.resources.files import DataFiles

if TYPE_CHECKING:
    import pyarrow as pa
    import xgboost as xgb

KEPT = 10
_MODEL, _ENCODING, _LEARNED, _ABOUT = (
    "model.ubj",
    "feature_encoding.json",
    "learned_from.parquet",
    "bundle.json",
)


@dataclass(frozen=True)
class Bundle:
    """One version as it lies on disk; what it holds is read when asked for."""

    folder: Path
    version: int

    @cached_property
    def about(self) -> dict[str, Any]:
        """`hyperparameters`, `threshold`, `quality`, `learned_from` and `files` (their sha256)."""
        about: dict[str, Any] = json.loads((self.folder / _ABOUT).read_text(encoding="utf-8"))
        return about

    @property
    def threshold(self) -> float:
        """The least probability that counts as a keep."""
        return float(self.about["threshold"])

    @cached_property
    def encoding(self) -> FeatureEncoding:
        """The encoding that the model's features were made with."""
        return FeatureEncoding.from_json(self._read(_ENCODING).decode())

    @cached_property
    def model(self) -> xgb.Booster:
        """The model that learned from every training row."""
        return self._booster(_MODEL)

    @cached_property
    def learned_from(self) -> pa.Table:
        """`key`, `label`, and for each seed the fold that each training row was held out of."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pq.read_table(pa.BufferReader(self._read(_LEARNED)))

    @property
    def is_whole(self) -> bool:
        """Say whether every file is there, as it was saved."""
        try:
            for name in self.about["files"]:
                self._read(name)
        except (OSError, ValueError, KeyError, AtxError):
            return False
        return True

    def fold_model(self, seed: int, fold: int) -> xgb.Booster:
        """The model that did not see the rows of one fold under one seed."""
        return self._booster(_fold_file(seed, fold))

    def _booster(self, name: str) -> xgb.Booster:
        import xgboost as xgb

        return xgb.Booster(model_file=bytearray(self._read(name)))

    def _read(self, name: str) -> bytes:
        """Read a file of the bundle, and make sure that it is the one that was written."""
        content = (self.folder / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != self.about["files"].get(name):
            raise AtxError(
                f"{self.folder / name} is not the file that was saved: run full_rebuild, or "
                "restore the folder"
            )
        return content


@dataclass(frozen=True)
class NewBundle:
    """What `Bundles.promote` saves. See `Bundle` for the parts."""

    model: xgb.Booster
    fold_models: list[list[xgb.Booster]]
    encoding: FeatureEncoding
    learned_from: pa.Table
    about: dict[str, Any]


class Bundles:
    """The folder `models/` under the data folder."""

    def __init__(self, files: DataFiles) -> None:
        """Look after the bundles beside the files of the assets."""
        self._files = files
        self._root = files.folder / "models"

    def champion(self) -> Bundle:
        """Return the version that scores.

        Raises:
            AtxError: no model has been trained yet.
        """
        pointer = self._root / "champion.json"
        if not pointer.exists():
            raise AtxError("no model has been trained yet: run full_rebuild (`atx run`) first")
        return self.version(int(json.loads(pointer.read_text())["version"]))

    def version(self, number: int) -> Bundle:
        """Return a version that is kept.

        Raises:
            AtxError: it is not there any more.
        """
        folder = self._root / str(number)
        if not folder.exists():
            raise AtxError(
                f"version {number} of the model is not in {self._root}: run the job score, or "
                "full_rebuild"
            )
        return Bundle(folder, number)

    def promote(self, new: NewBundle) -> Bundle:
        """Save a version whole, then make it the champion in one step.

        A bundle equal to the champion's, byte for byte, makes no new version. A champion that is
        damaged or gone is no hindrance: the new one takes its place.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self._sweep()
        folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self._root))
        _save(new, folder)
        champion = self._whole_champion()
        if champion and champion.about == json.loads(_text(folder / _ABOUT)):
            shutil.rmtree(folder)
            bundle = champion
        else:
            version = max(self._versions(), default=0) + 1
            folder.chmod(0o755)
            folder.rename(self._root / str(version))
            _sync(self._root)
            bundle = Bundle(self._root / str(version), version)
            with self._files.replacing(self._root / "champion.json") as beside:
                beside.write_text(json.dumps({"version": version}) + "\n")
            for old in self._versions()[:-KEPT]:
                shutil.rmtree(self._root / str(old))
        self.copy_champion()
        return bundle

    def copy_champion(self) -> None:
        """Make `binomial_classifier.ubj` the champion's model, if it is not.

        A process that died after a promotion may have left that of the version before.
        """
        model, copy = self.champion().folder / _MODEL, self._files.path("tuned_classifier")
        if copy.exists() and copy.read_bytes() == model.read_bytes():
            return
        with self._files.replacing(copy) as beside:
            shutil.copyfile(model, beside)

    def _whole_champion(self) -> Bundle | None:
        try:
            champion = self.champion()
        except (AtxError, OSError, ValueError, KeyError):
            return None
        return champion if champion.is_whole else None

    def _versions(self) -> list[int]:
        return sorted(int(p.name) for p in self._root.iterdir() if p.name.isdigit())

    def _sweep(self) -> None:
        """Remove what a process that was killed left half-made."""
        for left in self._root.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)


def _save(new: NewBundle, folder: Path) -> None:
    import pyarrow.parquet as pq

    (folder / "folds").mkdir()
    (folder / _MODEL).write_bytes(bytes(new.model.save_raw("ubj")))
    (folder / _ENCODING).write_text(new.encoding.to_json(), encoding="utf-8")
    pq.write_table(new.learned_from, folder / _LEARNED, compression="zstd")
    for seed, models in enumerate(new.fold_models):
        for fold, model in enumerate(models):
            (folder / _fold_file(seed, fold)).write_bytes(bytes(model.save_raw("ubj")))
    digests = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    about = json.dumps({**new.about, "files": digests}, indent=1, ensure_ascii=False)
    (folder / _ABOUT).write_text(about + "\n", encoding="utf-8")
    # Before the folder is named champion, its files must be able to outlive a loss of power.
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _fold_file(seed: int, fold: int) -> str:
    return f"folds/seed{seed}_fold{fold}.ubj"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")

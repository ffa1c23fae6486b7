"""A version of the model before it is stored: its parts, and how they are written as a bundle.

Not here: how a bundle is read (`bundle.py`), which number it gets (`bundles.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb

from atx_assets.learning.features import FeatureEncoding
from atx_assets.learning.models import fingerprint
from atx_assets.models import bundle
from atx_assets.models.bundle import as_json, fold_file, sync
from atx_assets.storage.checksums import announce, sum_of


@dataclass(frozen=True)
class NewBundle:
    """What `Bundles.keep` saves. See `Bundle` for the parts."""

    model: xgb.Booster
    fold_models: list[list[xgb.Booster]]
    encoding: FeatureEncoding
    learned_from: pa.Table
    about: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the bundle into an empty folder, so that it survives a power failure."""
        (folder / "folds").mkdir()
        models = {bundle.MODEL: self.model} | {
            fold_file(seed, fold): model
            for seed, models in enumerate(self.fold_models)
            for fold, model in enumerate(models)
        }
        for name, model in models.items():
            (folder / name).write_bytes(bytes(model.save_raw("ubj")))
        (folder / bundle.ENCODING).write_text(self.encoding.to_json(), encoding="utf-8")
        pq.write_table(self.learned_from, folder / bundle.LEARNED, compression="zstd")
        in_order = (models[name] for name in sorted(models))
        answers = {
            "xgboost": xgb.__version__,
            "sha256": fingerprint(in_order, len(self.encoding.names)),
        }
        digests = {
            str(path.relative_to(folder)): sum_of(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        about = {"format": bundle.FORMAT, **self.about, "answers": answers, "files": digests}
        (folder / bundle.QUALITY).write_text(as_json(about.pop("quality", {})), encoding="utf-8")
        (folder / bundle.ABOUT).write_text(as_json(about), encoding="utf-8")
        for name in (bundle.QUALITY, bundle.ABOUT):
            announce(folder / name, folder / name)
        for path in [*folder.rglob("*"), folder]:
            sync(path)

"""The models of a bundle, read and used with the XGBoost that is installed.

Not here: the bundle (`bundle.py`), which imports this when a model is needed.
"""

from __future__ import annotations

from collections.abc import Iterable

import xgboost as xgb

from atx_assets.learning.models import alone, fingerprint

VERSION = str(xgb.__version__)


def read_booster(content: bytes) -> xgb.Booster:
    """Return the model in a file.

    Raises:
        XGBoostError: it holds none that this XGBoost can read.
    """
    model = bytearray(content)
    return alone(lambda: xgb.Booster(model_file=model))


def answers_sha256(contents: Iterable[bytes], features: int) -> str:
    """Return the `fingerprint` of the models in files; "" if XGBoost cannot read one."""
    try:
        return fingerprint(map(read_booster, contents), features)
    except xgb.core.XGBoostError:
        return ""

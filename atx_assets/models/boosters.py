"""The models of a bundle, read and asked by the XGBoost that is installed.

Not here: the bundle (`bundle.py`), which imports this where a model is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

import xgboost as xgb

from atx_assets.learning.models import alone, fingerprint

VERSION = str(xgb.__version__)


def read_booster(content: bytes) -> xgb.Booster:
    """Return the model that a file holds.

    Raises:
        XGBoostError: it holds none that this XGBoost reads.
    """
    model = bytearray(content)
    return alone(lambda: xgb.Booster(model_file=model))


def answers_sha256(contents: Iterable[bytes], features: int) -> str:
    """Return the `fingerprint` of the models that files hold; "" if XGBoost cannot read one."""
    try:
        return fingerprint(map(read_booster, contents), features)
    except xgb.core.XGBoostError:
        return ""

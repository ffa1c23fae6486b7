"""`atx doctor` on MLflow: what the server answers and, with `--deep`, what it accepts.

Not here: the requests (`models/mlflow_server.py`) and the proof (`models/mlflow_proof.py`).
"""

from __future__ import annotations

import logging

from atx_assets.errors import Note
from atx_assets.home.schema_upgrade import Age, mlflow_age
from atx_assets.models.mlflow_server import EXPERIMENT, former_home, reach, shown_uri
from atx_assets.settings import Settings

_logger = logging.getLogger(__name__)


def check_mlflow(settings: Settings) -> str:
    """Ask MLflow for its version, atx's experiment, and the registered model's name.

    Does not import mlflow, which takes longer than all other checks together.
    """
    if not settings.mlflow_on:
        return "off (ATX_MLFLOW); versions, champion and rollback are only in the data folder"
    if before := former_home(settings):
        return Note(
            f"the home was moved or copied from {before}: the next `atx run`, `atx up` or "
            f"`atx start` changes the paths in MLflow's store to {settings.home}"
        )
    server = reach(settings)
    where = shown_uri(settings) + (f", MLflow {server.version}" if server.version else "")
    if not server.asked:
        return Note(f"{where} wants a login of a kind that only `atx doctor --deep` tries")
    if server.experiment and server.experiment.deleted:
        return Note(
            f"{where}; the experiment {EXPERIMENT} was deleted there: the next training restores it"
        )
    if server.hidden:
        return Note(
            f"{where}; it does not say whether it has a registered model {settings.model_name} "
            "(403): `atx doctor --deep` tries"
        )
    return where


def prove_mlflow(settings: Settings) -> str:
    """Make a run and an artifact in MLflow, and delete them again.

    Tries nothing on a store that the next run first upgrades, or updates after a moved home.
    """
    if former_home(settings) or mlflow_age(settings) is Age.OLDER:
        return Note("not tried until the next `atx run`, `atx up` or `atx start` has updated it")
    reach(settings)
    from mlflow.exceptions import MlflowException

    from atx_assets.models.mlflow_failures import failure
    from atx_assets.models.mlflow_proof import prove

    try:
        experiment_is_new = prove(settings, _logger)
    except (MlflowException, OSError) as error:
        raise failure(error, settings) from None  # its text may hold the password
    done = "a run was made and ended, an artifact written and read; both are deleted"
    if experiment_is_new:
        done += f"; the experiment {EXPERIMENT}, made for them, stays for the first training"
    return done

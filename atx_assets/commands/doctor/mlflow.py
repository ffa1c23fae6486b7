"""`atx doctor` on MLflow: what it says when asked, and, if wanted, what it takes.

Not here: the asking (`models/mlflow_server.py`) and the proof (`models/mlflow_proof.py`).
"""

from __future__ import annotations

import logging

from atx_assets.errors import Note
from atx_assets.home.schema_upgrade import Age, mlflow_age
from atx_assets.models.mlflow_server import EXPERIMENT, former_home, reach, shown_uri
from atx_assets.settings import Settings

_logger = logging.getLogger(__name__)


def check_mlflow(settings: Settings) -> str:
    """Ask MLflow for its version, for our experiment, and for the registered model's name.

    MLflow itself is not imported for that, which takes longer than all other checks together.
    """
    if not settings.mlflow_on:
        return "off (ATX_MLFLOW); versions, champion and rollback are in the data folder alone"
    if before := former_home(settings):
        return Note(
            f"the home was moved or copied from {before}: the next `atx run`, `atx up` or "
            f"`atx start` has MLflow's store name {settings.home}"
        )
    found = reach(settings)
    where = shown_uri(settings) + (f", MLflow {found.version}" if found.version else "")
    if not found.asked:
        return Note(f"{where} wants a login of a kind that only `atx doctor --deep` tries")
    if found.experiment and found.experiment.deleted:
        return Note(
            f"{where}; the experiment {EXPERIMENT} was deleted there: the next training restores it"
        )
    if found.hidden:
        return Note(
            f"{where}; it does not say whether it has a registered model {settings.model_name} "
            "(403): `atx doctor --deep` tries"
        )
    return where


def prove_mlflow(settings: Settings) -> str:
    """Have MLflow take a run and an artifact, and delete them again.

    Nothing is tried of a store that the next run first brings up to date, or to where the home is.
    """
    if former_home(settings) or mlflow_age(settings) is Age.OLDER:
        return Note("not tried before the next `atx run`, `atx up` or `atx start` has put it right")
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

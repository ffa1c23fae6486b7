"""`atx promote` and `atx rollback`: a person chooses the version that scores.

Not here: automatic promotion (`learning/promotion.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from atx_assets.errors import AtxError, DamagedError, MissingError
from atx_assets.home.moved_home import follow_home
from atx_assets.models import registry
from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles
from atx_assets.models.embedded_registry import mirror_embedded
from atx_assets.models.mlflow_server import embedded_store, reach, shown_cause
from atx_assets.settings import Settings
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.writer_lock import only_writer

Say = Callable[[str], None]


def promote(settings: Settings, version: int, say: Say) -> None:
    """Make a version from the data folder the champion.

    Raises:
        AtxError: the version is missing, damaged, of another layout, or already champion; or
            MLflow does not answer.
    """
    with _alone(settings) as (bundles, mlflow):
        if version not in bundles.versions():
            kept = ", ".join(map(str, bundles.versions())) or "none"
            raise AtxError(f"version {version} is not in {bundles.folder}: versions there: {kept}")
        bundle, before = bundles.version(version), _champion(bundles)
        if not bundle.is_whole:
            raise AtxError(f"version {version} in {bundle.folder} is damaged: promote another one")
        if before and before.version == version:
            raise AtxError(f"version {version} is already the champion")
        if before and before.is_whole and before.encoding.layout != bundle.encoding.layout:
            raise AtxError(
                f"version {version} learned from the {bundle.encoding.layout} layout, and the "
                f"films are in the {before.encoding.layout} layout: it could not score them"
            )
        _mirror(settings, mlflow, bundle, say)
        bundles.promote(bundle, by_hand=True)
        _report(bundles, before, say)


def roll_back(settings: Settings, say: Say) -> None:
    """Make the previous champion the champion again.

    Raises:
        AtxError: there is none in the data folder; or MLflow does not answer.
    """
    with _alone(settings) as (bundles, mlflow):
        bundle, before = bundles.before_champion(), bundles.champion()
        _mirror(settings, mlflow, bundle, say)
        bundles.roll_back()
        _report(bundles, before, say)


@contextmanager
def _alone(settings: Settings) -> Iterator[tuple[Bundles, Any]]:
    """Yield the bundles while no run writes, and a client of MLflow's server, if one is set.

    MLflow is reached and changed before the bundles: if it were away after them, the two would
    disagree.
    """
    client = None
    if settings.mlflow_on and settings.mlflow_host:
        client = _client(settings)
    elif settings.mlflow_on:
        follow_home(settings)
        reach(settings)
    with only_writer(settings.data_dir, "atx promote", logging.getLogger("atx_assets")):
        yield Bundles(DataFolder(settings.data_dir)), client


def _client(settings: Settings) -> Any:
    """Return MLflow's client, whose import is slow, once the server is known to answer.

    Raises:
        AtxError: MLflow does not answer within seconds.
    """
    reach(settings)
    from atx_assets.models.mlflow_client import mlflow_client

    return mlflow_client(settings)


def _champion(bundles: Bundles) -> Bundle | None:
    try:
        return bundles.champion()
    except (MissingError, DamagedError):  # promoting a version is the way to fix it
        return None


def _mirror(settings: Settings, client: Any, champion: Bundle, say: Say) -> None:
    """Set MLflow's aliases, before anything else is changed."""
    if not settings.mlflow_on:
        return
    known = None
    if client is None:
        known = mirror_embedded(embedded_store(settings), settings.model_name, champion)
    if known is None:
        known = _mirrored_by_client(settings, client or _client(settings), champion)
    if not known:
        say(
            f"MLflow has no model of version {champion.version} (it was trained without MLflow): "
            f"the alias {registry.CHAMPION} of {settings.model_name} is removed"
        )


def _mirrored_by_client(settings: Settings, client: Any, champion: Bundle) -> bool:
    import requests
    from mlflow.exceptions import MlflowException

    from atx_assets.models.mlflow_failures import failure
    from atx_assets.models.registered_model import mirror

    try:
        return mirror(client, settings.model_name, champion)
    except (MlflowException, requests.RequestException) as error:
        raise failure(error, settings) from shown_cause(error, settings)


def _report(bundles: Bundles, before: Bundle | None, say: Say) -> None:
    champion = bundles.champion()
    pr_auc = champion.about["quality"]["model"]["all"]["pr_auc"]["mean"]
    line = f"version {champion.version} is champion (PR-AUC {pr_auc:.3f} out of fold)"
    if before is not None:
        line += f"; training does not put version {before.version} back by itself"
        if not bundles.place().lifted:
            line += ", nor another version until there are newer labels"
    say(line)
    say("`atx run --job score` scores with it now; otherwise the next run does")

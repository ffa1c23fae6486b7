"""`atx promote` and `atx rollback`: which version scores, by hand. Not here: what is promoted
by itself (`learning/promotion.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from atx_assets.errors import AtxError
from atx_assets.resources.bundle import Bundle
from atx_assets.resources.bundles import Bundles
from atx_assets.resources.files import DataFiles, only_writer
from atx_assets.settings import Settings

Say = Callable[[str], None]


def promote(settings: Settings, version: int, say: Say) -> None:
    """Make a version that is kept the champion.

    Raises:
        AtxError: it is not kept, damaged, or champion already; or MLflow does not answer.
    """
    with _champion_changes(settings, say) as bundles:
        if version not in bundles.versions():
            kept = ", ".join(map(str, bundles.versions())) or "none"
            raise AtxError(f"version {version} is not kept in {bundles.folder}: there is {kept}")
        bundle = bundles.version(version)
        if not bundle.is_whole:
            raise AtxError(f"version {version} in {bundle.folder} is damaged: promote another one")
        if _champion(bundles) == version:
            raise AtxError(f"version {version} is the champion already")
        bundles.promote(bundle, by_hand=True)


def roll_back(settings: Settings, say: Say) -> None:
    """Make the champion before this one the champion again.

    Raises:
        AtxError: none is kept; or MLflow does not answer.
    """
    with _champion_changes(settings, say) as bundles:
        bundles.roll_back()


@contextmanager
def _champion_changes(settings: Settings, say: Say) -> Iterator[Bundles]:
    """Let the champion be changed while no run writes, with MLflow after it, and say what is so."""
    from atx_assets.resources.mlflow import Mlflow

    log = logging.getLogger("atx_assets")
    # Before anything is changed: with MLflow away, the two would say different things.
    client: Any = Mlflow().client() if settings.mlflow_on else None
    with only_writer(settings.data_dir, "atx promote", log):
        bundles = Bundles(DataFiles(directory=str(settings.data_dir)))
        before = _champion(bundles)
        yield bundles
        champion = bundles.champion()
        say(_told(champion, before))
        if client:
            _mirror(settings, client, bundles, champion, say)
    say("`atx run --job score` scores by it now; else the next run does")


def _champion(bundles: Bundles) -> int | None:
    try:
        return bundles.place().version
    except AtxError:  # damaged or gone: promoting a version is the way to mend it
        return None


def _told(champion: Bundle, before: int | None) -> str:
    nested = champion.about["quality"]["nested"]["pr_auc"]["mean"]
    line = f"version {champion.version} is champion (nested PR-AUC {nested:.3f})"
    if before is None:
        return line
    return f"{line}; training does not put version {before} back by itself"


def _mirror(settings: Settings, client: Any, bundles: Bundles, champion: Bundle, say: Say) -> None:
    from atx_assets.resources import registry

    name = settings.model_name
    if not registry.mirror(client, name, champion, bundles.challenger()):
        say(
            f"MLflow has no model of version {champion.version} (it was trained without): "
            f"the alias {registry.CHAMPION} of {name} is taken away"
        )

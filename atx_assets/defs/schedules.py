"""The schedule of the nightly run.

Not here: what it does (`jobs.py`), whether it trains (`automation/decide.py`).
"""

from __future__ import annotations

import logging

import dagster as dg

from atx_assets.alerts.alerts import raise_alert
from atx_assets.automation.decide import decide_nightly
from atx_assets.automation.failures import refusal
from atx_assets.automation.losses import GONE
from atx_assets.automation.observe import SEARCHED, fingerprints_now, gone_from, learned_from
from atx_assets.automation.results import TRAINED
from atx_assets.automation.tags import NIGHTLY, WHY
from atx_assets.defs.jobs import SCORED, full_rebuild
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.errors import AtxError, DamagedError, MissingError, SettingError
from atx_assets.models.recipe import recipe_version
from atx_assets.settings import Settings
from atx_assets.storage.data_folder import DataFolder

_logger = logging.getLogger(__name__)

_DESCRIPTION = (
    "Rebuilds everything every night, at {cron} ({zone}; ATX_RETRAIN_CRON, ATX_TIMEZONE). If "
    "labels, films and code are those of the last search and training, it skips both, and only "
    "scores and reports, so that the results stay fresh. ATX_RETRAIN_ALWAYS=yes trains all the "
    "same. After a missed night, it runs at the next start. To quiet it, switch it off on this "
    "page (Automation); it stays off until you switch it on."
)


def nightly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule.

    Raises:
        SettingError: `ATX_RETRAIN_CRON` is not a cron expression.
    """
    automation = settings.automation
    try:
        schedule = dg.schedule(
            name=NIGHTLY,
            job=full_rebuild,
            cron_schedule=automation.retrain_cron,
            execution_timezone=automation.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=_DESCRIPTION.format(cron=automation.retrain_cron, zone=automation.timezone),
        )
        return schedule(nightly_request)
    except dg.DagsterInvalidDefinitionError:  # its text repeats the value, which may be a secret
        raise SettingError(
            "ATX_RETRAIN_CRON is not a cron expression; write for instance '0 2 * * *'"
        ) from None


def nightly_request(
    context: dg.ScheduleEvaluationContext, current_settings: CurrentSettings
) -> dg.RunRequest | dg.SkipReason:
    """Ask for the whole graph, or only for its scoring if nothing has changed.

    If the data are gone, it asks for nothing and raises an alert: the run would train a first
    version into the empty folder of a disk that is not mounted.
    """
    if gone := _gone(context.instance, current_settings):
        return dg.SkipReason(gone)
    train, why = _decide(context.instance, current_settings)
    return dg.RunRequest(
        asset_selection=None if train else [dg.AssetKey(name) for name in SCORED],
        tags={WHY: why},
    )


def _gone(instance: dg.DagsterInstance, current_settings: CurrentSettings) -> str:
    try:
        settings = current_settings.read()
    except SettingError:  # the run fails with it, and a failed nightly run raises an alert
        return ""
    if gone := gone_from(instance, settings.data_dir):
        raise_alert(settings, refusal(gone, GONE), _logger)
    return gone


def _decide(instance: dg.DagsterInstance, current_settings: CurrentSettings) -> tuple[bool, str]:
    try:
        settings = current_settings.read()
        now = fingerprints_now(settings)
    except AtxError as error:
        # The run meets the same failure, and a failed nightly run raises an alert; a skip does not.
        return True, f"the database could not be read beforehand: {error}"
    if damaged := _damage(settings):
        return True, damaged
    return decide_nightly(
        (now.labels, now.media, recipe_version(settings)),
        learned_from(instance, SEARCHED),
        learned_from(instance, TRAINED),
        always=settings.automation.retrain_always,
    )


def _damage(settings: Settings) -> str:
    """Return what is damaged in the model, if only training can fix it; else empty.

    Otherwise every nightly run would only score, with a champion that cannot, and fail.
    """
    from atx_assets.models.bundles import Bundles

    bundles = Bundles(DataFolder(settings.data_dir))
    try:
        champion = bundles.champion()
    except (MissingError, DamagedError) as error:
        return str(error)
    return "" if champion.is_whole else f"version {champion.version} of the model is damaged"

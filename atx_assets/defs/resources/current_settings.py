"""The settings as a Dagster resource: read once per run and once per tick.

Not here: which settings there are, and how one is read (`settings.py`).
"""

import dagster as dg
from pydantic import PrivateAttr

from atx_assets.settings import Settings, read_settings


class CurrentSettings(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The settings as they are when a run or a tick first asks for them.

    Dagster creates one of these for each run (for each step, if each has its own process) and for
    each tick, so a change in `.env` applies from the next one on. Creating it reads nothing: an
    invalid setting is then the error of the step, or the reason why a sensor skips, in one line. A
    resource that fails to be created would print a traceback, and would fail the tick.
    """

    _settings: Settings | None = PrivateAttr(default=None)

    def read(self) -> Settings:
        """Return the settings, the same ones at each call.

        Raises:
            AtxError: a setting cannot be used.
        """
        if self._settings is None:
            self._settings = read_settings()
        return self._settings


def given_settings(settings: Settings) -> CurrentSettings:
    """Return the resource with these settings in it, whatever the environment says.

    For callers that already have the settings: `atx run`, and tests.
    """

    # A class of its own: for each run and tick, Dagster recreates a resource from its fields.
    class Given(CurrentSettings):
        __doc__ = CurrentSettings.__doc__

        def read(self) -> Settings:
            return settings

    return Given()

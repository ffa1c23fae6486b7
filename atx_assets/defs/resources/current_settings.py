"""The settings as the graph gets them: read once for each run and each tick.

Not here: which settings there are, and how one is read (`settings.py`).
"""

import dagster as dg
from pydantic import PrivateAttr

from atx_assets.settings import Settings, read_settings


class CurrentSettings(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The settings as they are when a run or a tick first asks for them.

    Dagster makes one of these for each run (for each step, if each has its own process) and for
    each tick, so a change in `.env` holds from the next one on. The settings are not read when it
    is made: a setting that cannot be used is then the error of the step, or the reason why a sensor
    skips, in one line. The failure of a resource would be a traceback, and would fail the tick.
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

    For who has the settings already: `atx run`, and tests.
    """

    # A class of its own: Dagster makes a resource anew from its fields for each run and tick.
    class Given(CurrentSettings):
        __doc__ = CurrentSettings.__doc__

        def read(self) -> Settings:
            return settings

    return Given()

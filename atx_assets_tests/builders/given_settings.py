"""Settings that a test hands to the graph, instead of changing the environment."""

from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.settings import Settings


def given_settings(settings: Settings) -> CurrentSettings:
    """Return the resource `current_settings` with these in it, whatever the environment says."""

    # A class of its own: Dagster makes a resource anew from its fields for each run and tick.
    class Given(CurrentSettings):
        def read(self) -> Settings:
            return settings

    return Given()

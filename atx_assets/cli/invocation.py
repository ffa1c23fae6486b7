"""What every command gets as `ctx.obj`: the settings, and the variables that have no effect.

Not here: which settings there are (`settings.py`). It imports nothing heavy, because `atx --help`
imports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atx_assets.settings import Settings


@dataclass(frozen=True)
class Invocation:
    """One call of the program.

    `ignored` names the variables of libpq and MLflow that are set but have no effect.
    """

    ignored: tuple[str, ...]

    @cached_property
    def settings(self) -> Settings:
        """The settings, read when the command asks: a mistake in its arguments is reported first.

        Raises:
            AtxError: a setting cannot be used.
        """
        from atx_assets.settings import read_settings

        return read_settings()

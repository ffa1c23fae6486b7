"""Dagster's storage on PostgreSQL, reached as the settings say and not as the environment does,
and without its warnings at each connection.

Every process of Dagster's opens its storage before anything else, with `dagster dev` too, where no
other code of ours has run. Not here: which variables count (`libpq.py`).
"""

from __future__ import annotations

from typing import Any

from dagster_postgres import DagsterPostgresStorage

from atx_assets.defs.notices import hold_warnings_down
from atx_assets.libpq import settle_environment


class SettledPostgresStorage(DagsterPostgresStorage):
    """Dagster's own storage, opened once libpq's variables are settled."""

    @classmethod
    def from_config_value(  # type: ignore[override]  # as Dagster's own has it
        cls, inst_data: Any, config_value: Any
    ) -> DagsterPostgresStorage:
        """Open the storage that `dagster.yaml` names."""
        settle_environment()
        hold_warnings_down()
        return super().from_config_value(inst_data, config_value)

"""Dagster's storage on PostgreSQL, reached by the settings, not by libpq's variables, and without a
warning at each connection.

Every process of Dagster opens its storage first, even under `dagster dev`, where no other code of
ours has run. Not here: what is settled in the environment (`process_environment.py`).
"""

from __future__ import annotations

import os
from typing import Any

import click
import dagster as dg
from dagster_postgres import DagsterPostgresStorage

from atx_assets.defs.notices import hold_warnings_down
from atx_assets.process_environment import settle_process

_URL = "DAGSTER_POSTGRES_URL"


class SettledPostgresStorage(DagsterPostgresStorage):
    """Dagster's own storage, opened once the environment is settled."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Return the options in `dagster.yaml`. A missing one gets our error, not Dagster's."""
        return {"postgres_url": dg.Field(dg.StringSource, is_required=False)}

    @classmethod
    def from_config_value(  # type: ignore[override]  # as Dagster's own has it
        cls, inst_data: Any, config_value: Any
    ) -> DagsterPostgresStorage:
        """Open the storage that `dagster.yaml` or DAGSTER_POSTGRES_URL names.

        Raises:
            click.ClickException: neither names one. Dagster's commands then print only its line.
        """
        settle_process()
        hold_warnings_down()
        url = config_value.get("postgres_url") or os.environ.get(_URL)
        if not url:
            raise click.ClickException(
                f"{_URL} is not set, so Dagster cannot find its records: "
                'start the servers with `atx start`, then `eval "$(atx env)"`; or use `atx up`'
            )
        settled: Any = {**config_value, "postgres_url": url}
        return super().from_config_value(inst_data, settled)

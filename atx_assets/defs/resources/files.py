"""The data folder as a Dagster resource, which one run at a time holds.

Not here: its files (`storage/data_folder.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field

from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.writer_lock import only_writer


class DataFiles(dg.ConfigurableResource, DataFolder):  # type: ignore[type-arg]
    """The folder that every asset reads from and writes to."""

    directory: str = ""
    current_settings: CurrentSettings = Field(default_factory=CurrentSettings)

    @property
    def folder(self) -> Path:
        """The data folder: `directory`, or `ATX_DATA_DIR` if that is empty."""
        return Path(self.directory) if self.directory else self.current_settings.read().data_dir

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[DataFiles]:
        """Hold the folder while a run (or a step, if each has its own process) writes to it."""
        run = context.run.run_id if context.run else "-"
        with only_writer(self.folder, run, context.log):
            yield self

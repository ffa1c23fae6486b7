"""Homes on which the program `atx` is run as a person runs it, and watched while it runs.

Not here: `atx up` (`house.py`).
"""

import os
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path

from atx_assets.storage.checksums import is_damaged
from atx_assets_tests.builders.environment import wait_until
from atx_assets_tests.builders.house import SLEEPS
from atx_assets_tests.builders.program import ATX

_FAREWELL = "WARNING:  terminating connection due to immediate shutdown command"


class Running:
    """A command under way, and the lines that it has told so far."""

    def __init__(self, words: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*ATX, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def tells(self, words: str) -> None:
        """Wait until it tells a line with these words."""

        def told() -> bool:
            assert self.process.poll() is None or words in "\n".join(self.lines), self.lines
            return words in "\n".join(self.lines)

        wait_until(told, words, 240, lambda: self.lines)

    def end(self) -> int:
        """Wait for its end; return its exit status."""
        try:
            status = self.process.wait(300)
        finally:
            self.process.kill()
        self._reader.join(10)
        # libpq prints a server's farewell, if a connection is just then waiting for an answer.
        text = "\n".join(line for line in self.lines if not line.startswith(_FAREWELL))
        assert "Traceback" not in text, text
        assert "WARNING" not in text, text
        return status

    @property
    def failure(self) -> str:
        """The line that a failure is told in, which is the last."""
        assert self.lines[-1].startswith("atx: "), self.lines
        return self.lines[-1]


class Home:
    """A home with its data folder; search is off, and MLflow, as neither is broken here."""

    def __init__(self, folder: Path, environment: Mapping[str, str], **settings: str) -> None:
        self.home, self.data = folder / "h", folder / "data"
        (folder / "python").mkdir(parents=True)
        (folder / "python" / "sitecustomize.py").write_text(SLEEPS)
        self.environment = {
            **environment,
            "ATX_HOME": str(self.home),
            "ATX_DATA_DIR": str(self.data),
            "ATX_MLFLOW": "off",
            "ATX_SEARCH": "off",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(folder / "python"),
            **settings,
        }

    def begin(self, *words: str, **settings: str) -> Running:
        return Running(words, self.environment | settings)

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ATX, *words],
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def contents(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.data)): path.read_bytes()
            for path in sorted(self.data.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }

    def left_over(self) -> set[str]:
        """What a process that was killed may have left beside the files."""
        found = [*self.data.rglob(".*.new"), *self.data.rglob(".new-*")]
        return {path.name for path in found}

    def damaged(self) -> list[str]:
        return [name for name in self.contents() if is_damaged(self.data / name)]


def bare() -> dict[str, str]:
    """The environment without a setting of the project; empty ones hide what `.env` says."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PG_", "ATX_", "MLFLOW_", "DAGSTER_"))
    }
    return kept | dict.fromkeys(("PG_HOST", "MLFLOW_HOST", "DAGSTER_POSTGRES_URL"), "")

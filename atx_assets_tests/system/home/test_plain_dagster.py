"""Dagster's own commands, where nobody has said yet where its records are."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from atx_assets.settings import ROOT
from atx_assets_tests.builders.environment import bare_environment

MODULE = ["-m", "atx_assets.definitions"]


@pytest.mark.parametrize(
    "words",
    [["dev", "--port", "0"], ["asset", "materialize", "--select", "raw_media"]],
    ids=["dev", "asset materialize"],
)
def test_plain_dagster_says_in_a_line_what_to_do_first(words: list[str], tmp_path: Path) -> None:
    """Kept out: Dagster's traceback about a variable that a file of ours has asked it for."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *words, *MODULE],
        env=bare_environment() | {"DAGSTER_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "Error: DAGSTER_POSTGRES_URL is not set, so Dagster cannot find its records: "
        'start the servers with `atx start`, then `eval "$(atx env)"`; or use `atx up`'
    )

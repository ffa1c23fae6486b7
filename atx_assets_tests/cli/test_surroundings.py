"""What a person's shell, cron or a service manager leaves a command: its streams and its folder."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from atx_assets.cli.main import cli, main

#: Files that a command opens must not get the numbers of the streams that were closed.
_CLOSED = """
import os, sys
from atx_assets.cli.main import cli, main

@cli.command("work")
def work():
    print("printed", sys.stdin.read(), sys.stdout.isatty(), sys.stderr.isatty())
    assert os.open(os.devnull, os.O_RDONLY) > 2

status = main(["work"])
os._exit(status)
"""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_command_whose_streams_are_closed_works_all_the_same(closed: tuple[int, ...]) -> None:
    """Kept out: `'NoneType' object has no attribute 'isatty'`, and files in the streams' place."""
    shell = " ".join(f"{number}>&-" for number in closed)
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, _CLOSED],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What is in its buffer cannot be written at its end either.
    with suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["--help"]) == 1
        monkeypatch.undo()
    assert capsys.readouterr().err == (
        "atx: the output cannot be written: the disk is full: make room\n"
    )


def test_a_folder_that_was_deleted_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Kept out: a FileNotFoundError that names no file, from Dagster in the middle of a run."""

    @click.command("work")
    def work() -> None:
        Path.cwd()

    monkeypatch.setitem(cli.commands, "work", work)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert main(["work"]) == 1
    assert capsys.readouterr().err == ("atx: the current folder is gone: `cd` to one that exists\n")

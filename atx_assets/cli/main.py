"""The program `atx`: which commands there are, and what a failure looks like.

Failures are raised, not printed: `main` makes the one line and the exit status of them. Not here:
the commands (a file each), nor what they do (`local/`).
"""

import importlib
import logging
import os
import signal
import sys
import traceback
from collections import UserDict
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from atx_assets.errors import AtxError
from atx_assets.libpq import settle_environment

#: Each is the name of a command, of its file beside this one, and of the function in that.
COMMANDS = (
    "backup",
    "correct",
    "demo",
    "doctor",
    "env",
    "explain",
    "load",
    "promote",
    "restore",
    "rollback",
    "run",
    "score",
    "show",
    "start",
    "stop",
    "up",
)


class _Files(UserDict[str, Any]):
    """The commands by their names, the file of each imported when it is asked for."""

    def __getitem__(self, name: str) -> click.Command:
        """Return a command; a KeyError says that there is none of that name."""
        if self.data[name] is None:
            self.data[name] = getattr(importlib.import_module(f"atx_assets.cli.{name}"), name)
        command: click.Command = self.data[name]
        return command


class _ToStandardError(logging.Handler):
    """Logs to standard error as it is then: above what moves on a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


@click.group(
    commands=_Files(dict.fromkeys(COMMANDS)),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--verbose", is_flag=True, help="Show details, and the traceback of a failure.")
@click.pass_context
def cli(context: click.Context, verbose: bool) -> None:
    """Learn one person's taste from the titles they labelled."""
    handler = _ToStandardError()
    handler.setFormatter(logging.Formatter("atx: %(message)s"))
    logger = logging.getLogger("atx_assets")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
    # Before anything connects. `atx doctor` names what does not count.
    context.obj = settle_environment()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status; a failure is one line on stderr."""
    # What we and all that we start write holds somebody's library: nobody else may read it.
    os.umask(0o077)
    _have_home()
    words = list(sys.argv[1:] if arguments is None else arguments)
    # So that `atx up --verbose` works like `atx --verbose up`.
    verbose = "--verbose" in words
    words = ["--verbose"] * verbose + [word for word in words if word != "--verbose"]
    for sent in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(sent) is not signal.SIG_IGN:  # as nohup has set it
            signal.signal(sent, _exit)
    try:
        return int(cli.main(words, prog_name="atx", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("atx: stopped; what was there before stays in place", err=True)
        return 130
    except Exception as error:
        if verbose:
            traceback.print_exc()
        click.echo(f"atx: {_line(error, verbose)}", err=True)
        return 1


def _line(error: Exception, verbose: bool) -> str:
    from atx_assets.local.plain_text import plain

    message = plain(" ".join(str(error).split()))
    if isinstance(error, AtxError):
        return message
    hint = "" if verbose else " (use --verbose for the traceback)"
    return f"{type(error).__name__}: {message}{hint}"


def _have_home() -> None:
    """Give a user whom /etc/passwd does not name the home that containers give such a one.

    Libraries ask for it when they are imported, and would fail in the middle of a run.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def _exit(signum: int, _frame: FrameType | None) -> NoReturn:
    """End like after Ctrl-C, so that what was started is ended and given back."""
    raise SystemExit(128 + signum)

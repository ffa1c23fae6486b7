"""The program `atx`: which commands there are, and what a failure looks like.

Failures are raised, not printed: `main` turns them into one line and an exit status. Not here:
the commands (one file each), nor what they do (`commands/`).
"""

import importlib
import logging
import os
import signal
import sys
import traceback
from collections import UserDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from atx_assets.cli.invocation import Invocation
from atx_assets.cli.stopping import Stopping
from atx_assets.cli.surroundings import explain_failure, open_closed_streams
from atx_assets.errors import STOPPED, AtxError
from atx_assets.process_environment import settle_process

#: Each is the name of a command, of its file in this folder, and of the function in that file.
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
    """The commands by name. Imports a command's file when the command is looked up."""

    def __getitem__(self, name: str) -> click.Command:
        """Return a command, or raise KeyError if there is none of that name."""
        if self.data[name] is None:
            self.data[name] = getattr(importlib.import_module(f"atx_assets.cli.{name}"), name)
        command: click.Command = self.data[name]
        return command


class _ToStandardError(logging.Handler):
    """Logs to standard error as it is at that moment: above the moving display of a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


class _Commands(click.Group):
    """The group of commands. Only `main` reports Ctrl-C; click would add an empty line."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the command line."""
        with _interrupts_kept():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        with _interrupts_kept():
            return super().invoke(ctx)


class _Interrupted(BaseException):
    """Replaces a KeyboardInterrupt on its way through click."""


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise _Interrupted from error


@click.group(
    cls=_Commands,
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
    # `atx doctor` names the variables that have no effect.
    bounded = context.invoked_subcommand == "load"
    context.obj = Invocation(settle_process(bounded_memory=bounded))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status; a failure is one line on stderr."""
    # What this process and its children write holds a private library: no other user may read it.
    os.umask(0o077)
    open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    # So that `atx up --verbose` works like `atx --verbose up`.
    verbose = "--verbose" in words
    words = ["--verbose"] * verbose + [word for word in words if word != "--verbose"]
    stopping = Stopping()
    try:
        stopping.heed()
        return int(cli.main(words, prog_name="atx", standalone_mode=False) or 0)
    except BaseException as error:
        return _failed(error, stopping.signal, verbose)
    finally:
        stopping.end()


def _failed(error: BaseException, asked: int, verbose: bool) -> int:
    """Report that a command was stopped by a signal or failed, and return its exit status."""
    # A failure during the shutdown is only a consequence of it.
    if asked or isinstance(error, _Interrupted | KeyboardInterrupt | click.Abort):
        if verbose:
            traceback.print_exception(error)
        with suppress(OSError):  # the terminal is gone, after SIGHUP
            # Below the ^C that a terminal shows.
            click.echo("\n" * sys.stderr.isatty() + f"atx: {STOPPED}", err=True)
        return 128 + (asked or signal.SIGINT)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if not isinstance(error, Exception):  # SystemExit, which click raises when a pipe is closed
        raise error
    if verbose:
        traceback.print_exception(error)
    click.echo(f"atx: {_line(error, verbose)}", err=True)
    return 1


def _line(error: Exception, verbose: bool) -> str:
    from atx_assets.plain_text import plain

    message = plain(" ".join(str(error).split()))
    if isinstance(error, AtxError):
        return message
    if explained := explain_failure(error):
        return explained
    hint = "" if verbose else " (use --verbose for the traceback)"
    return f"{type(error).__name__}: {message}{hint}"

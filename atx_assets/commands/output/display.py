"""How a command tells what it does: lines for a pipe, a display that moves for a terminal.

Not here: what is told (`progress.py`, `summary.py`, `commands/show.py`).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Output(Enum):
    """What a command prints: all, nothing but what is wrong, or one JSON object at its end."""

    SHOWN = "shown"
    QUIET = "quiet"
    JSON = "json"


@dataclass
class Search:
    """How far the search for hyperparameters is: its share, above 0, `seconds` after it began."""

    share: float
    seconds: float


@dataclass
class Now:
    """Where a run is now; written by one thread, and read by another that draws it.

    `making` has, for each step that has begun and not ended, when it began (seconds since 1970).
    """

    total: int = 0
    made: int = 0
    making: dict[str, float] = field(default_factory=dict)
    search: Search | None = None


class Display:
    """Lines, and nothing that moves."""

    def __init__(self, output: Output = Output.SHOWN) -> None:
        """Tell on standard output, or only what is wrong, or nothing."""
        self._output = output

    #: Whether `showing` shows how far a run is.
    moves = False

    def say(self, line: str) -> None:
        """Tell a line, if lines are wanted."""
        if self._output is Output.SHOWN:
            click.echo(line)

    def warn(self, line: str) -> None:
        """Tell of something wrong, which only JSON has in another place."""
        if self._output is Output.QUIET:
            click.echo(f"atx: {line.strip()}", err=True)
        else:
            self.say(line)

    @contextmanager
    def showing(self, now: Now) -> Iterator[None]:
        """Show how far a run is while the block lasts."""
        yield


class LiveDisplay(Display):
    """Lines, and below them how far the run is, drawn anew several times a second."""

    moves = True

    def __init__(self, output: Output, stream: TextIO) -> None:
        """Draw on a stream that is a terminal."""
        super().__init__(output)
        self._stream = stream
        self._console: Console | None = None

    def say(self, line: str) -> None:
        """Tell a line, above what moves."""
        if self._console and self._output is Output.SHOWN:
            self._console.out(line, highlight=False)
        else:
            super().say(line)

    @contextmanager
    def showing(self, now: Now) -> Iterator[None]:
        """Show how far a run is while the block lasts; nothing of it stays."""
        from rich.live import Live
        from rich.spinner import Spinner

        began, spinner = time.time(), Spinner("dots")
        with _terminal_itself(self._stream) as terminal:
            console = self._console = console_on(terminal)
            # What anybody prints meanwhile comes out above it, whole.
            with Live(
                console=console,
                get_renderable=lambda: _drawn(now, began, spinner, _fitted(console, terminal)),
                refresh_per_second=8,
                transient=True,
            ):
                try:
                    yield
                finally:
                    self._console = None


@contextmanager
def _terminal_itself(stream: TextIO) -> Iterator[TextIO]:
    """Yield the terminal behind a stream, which stays it while Dagster keeps what steps print."""
    encoding = stream.encoding or "utf-8"
    with os.fdopen(os.dup(stream.fileno()), "w", encoding=encoding, errors="replace") as terminal:
        yield terminal


def _fitted(console: Console, terminal: TextIO) -> int:
    """Let the console have the size that the terminal has now; return its width."""
    from rich.console import ConsoleDimensions

    size = os.get_terminal_size(terminal.fileno())
    if size.columns:
        console.size = ConsoleDimensions(*size)
    return console.width


def _drawn(now: Now, began: float, spinner: RenderableType, width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    at, bar = time.time(), max(6, min(40, width - 52))
    rows = Table.grid(padding=(0, 1))
    rows.add_column()
    # Of one width, so that the bars stay where they are.
    rows.add_column(no_wrap=True, overflow="ellipsis", width=16)
    rows.add_column()
    rows.add_column(no_wrap=True, overflow="ellipsis")
    whole = ProgressBar(total=max(now.total, 1), completed=now.made, width=bar)
    rows.add_row(" ", "assets", whole, f"{now.made} of {now.total}, {duration(at - began)}")
    for step, since in list(now.making.items()):
        seconds, search = at - since, now.search
        if step == "hyperparameters" and search:
            part = ProgressBar(total=1.0, completed=search.share, width=bar)
            left = duration(max(search.seconds / search.share - seconds, 0))
            told = f"{search.share:.0%}, {duration(seconds)}, {left} left"
            rows.add_row(spinner, step, part, told)
        else:
            rows.add_row(spinner, step, "", duration(seconds))
    return rows


def duration(seconds: float) -> str:
    """Return seconds as a person reads them: 9 s, 1:05 min, 2:03:04 h."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def display(output: Output) -> Display:
    """Return what tells on the streams of this process as they are.

    With JSON, standard output is kept for it: what moves is drawn on standard error.
    """
    stream = sys.stderr if output is Output.JSON else sys.stdout
    if output is not Output.QUIET and is_terminal(stream):
        return LiveDisplay(output, stream)
    return Display(output)


def is_terminal(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def console_on(stream: TextIO) -> Console:
    """Return a terminal to print tables and what moves on, without colours under NO_COLOR."""
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)

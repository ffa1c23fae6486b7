"""How a command shows its output: lines for a pipe, a moving display for a terminal.

Not here: the texts themselves (`progress.py`, `summary.py`, `commands/show.py`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import Task, TaskID


#: The bar of all assets together; every other bar shows one step.
ASSETS = "assets"
#: Seconds over which the speed of a search is averaged: all of it, as its parts differ in speed.
_WHOLE = 1e9


class Output(Enum):
    """What a command prints: everything, only warnings, or one JSON object at its end."""

    SHOWN = "shown"
    QUIET = "quiet"
    JSON = "json"


class Display:
    """Prints lines, and nothing that moves."""

    def __init__(self, output: Output = Output.SHOWN) -> None:
        """Print everything, only warnings, or nothing."""
        self._output = output

    #: Whether it shows a run's progress while it is `showing`.
    moves = False

    def say(self, line: str) -> None:
        """Print a line, if lines are wanted."""
        if self._output is Output.SHOWN:
            click.echo(line)

    def warn(self, line: str) -> None:
        """Print a warning. With JSON nothing is printed: the JSON object holds it."""
        if self._output is Output.QUIET:
            click.echo(f"atx: {line.strip()}", err=True)
        else:
            self.say(line)

    @contextmanager
    def showing(self, total: int) -> Iterator[None]:
        """Show the progress of a run that makes `total` assets, while the block lasts."""
        yield

    def draw(self, step: str, done: float | None = None) -> None:
        """Show that a step is under way, and how far its search is, from 0 to 1.

        For the step `ASSETS`, which all others are parts of, `done` is a number of assets.
        """

    def end(self, step: str) -> None:
        """Show that a step has ended."""


class LiveDisplay(Display):
    """Prints lines, and below them a bar for all assets and one for each step."""

    moves = True

    def __init__(self, output: Output, stream: TextIO) -> None:
        """Draw on a stream that is a terminal."""
        super().__init__(output)
        self._stream = stream
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._total = 0

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        if self._bars and self._output is Output.SHOWN:
            self._bars.console.out(line, highlight=False)
        else:
            super().say(line)

    @contextmanager
    def showing(self, total: int) -> Iterator[None]:
        """Show a run's progress while the block lasts, and then erase it."""
        self._total, self._tasks = total, {}
        try:
            # Whatever is printed meanwhile comes out whole, above the bars.
            with _terminal_itself(self._stream) as terminal, _bars_on(terminal) as self._bars:
                self.draw(ASSETS, 0)
                yield
        finally:
            self._bars = None

    def draw(self, step: str, done: float | None = None) -> None:
        """Draw a step's bar, which moves to and fro until `done` is known."""
        if not self._bars:
            return
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=None)
        if done is not None:
            total = self._total if step == ASSETS else 1.0
            self._bars.update(self._tasks[step], completed=done, total=total)

    def end(self, step: str) -> None:
        """Remove the bar of a step."""
        if self._bars and step in self._tasks:
            self._bars.remove_task(self._tasks.pop(step))


@contextmanager
def _terminal_itself(stream: TextIO) -> Iterator[TextIO]:
    """Yield the terminal behind a stream: Dagster redirects the stream to capture steps' output."""
    encoding = stream.encoding or "utf-8"
    with os.fdopen(os.dup(stream.fileno()), "w", encoding=encoding, errors="replace") as terminal:
        yield terminal


def _bars_on(terminal: TextIO) -> Bars:
    from rich.console import ConsoleDimensions, RenderableType
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Status(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(_status(task))

    class Fitted(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            # The console would ask the standard streams, two of which Dagster redirects.
            if (size := os.get_terminal_size(terminal.fileno())).columns:
                console.size = ConsoleDimensions(*size)
            yield from super().get_renderables()

    console = console_on(terminal)
    # A fixed width, so that the bars stay where they are.
    name = Column(no_wrap=True, overflow="ellipsis", width=16)
    return Fitted(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, table_column=name),
        BarColumn(None, table_column=Column(max_width=40)),
        Status(table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
        refresh_per_second=8,
        speed_estimate_period=_WHOLE,
        transient=True,
    )


def _status(task: Task) -> str:
    elapsed = duration(task.elapsed or 0)
    if task.total is None:
        return elapsed
    if task.description == ASSETS:
        return f"{task.completed:.0f} of {task.total:.0f}, {elapsed}"
    left = "" if task.time_remaining is None else f", {duration(task.time_remaining)} left"
    return f"{task.percentage:.0f}%, {elapsed}{left}"


def duration(seconds: float) -> str:
    """Format seconds for a person: 9 s, 1:05 min, 2:03:04 h."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def display(output: Output) -> Display:
    """Return the display that suits the current streams of this process.

    With JSON, standard output is reserved for it, and the bars are drawn on standard error.
    """
    stream = sys.stderr if output is Output.JSON else sys.stdout
    if output is not Output.QUIET and is_terminal(stream):
        return LiveDisplay(output, stream)
    return Display(output)


def is_terminal(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that can do more than print lines."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def console_on(stream: TextIO) -> Console:
    """Return a console for tables and moving bars, without colours under NO_COLOR."""
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)

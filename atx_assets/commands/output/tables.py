"""Tables of films: fitted to the width of a terminal, or as wide as they are for a pipe.

Not here: what is in a table (`commands/show.py`). A title may hold anything: characters that take
two columns or none, right-to-left text, control sequences that a terminal would obey.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from atx_assets.commands.output.display import console_on
from atx_assets.plain_text import plain

if TYPE_CHECKING:
    from rich.table import Table

#: The lines of each cell, by column name. All rows have the columns of the first.
Row = Mapping[str, Sequence[str]]


def aligned(rows: Sequence[Row]) -> list[str]:
    """Return one line per row below a line of column names; nothing is cut off."""
    from rich.cells import cell_len

    cells = [list(rows[0]), *([plain("; ".join(cell)) for cell in row.values()] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in cells
    ]


def print_table(
    rows: Sequence[Row], narrow: Sequence[str], wide: Sequence[str], least: int
) -> None:
    """Print rows on the terminal, each line of a cell on a line of its own.

    Args:
        rows: each with the columns `film`, which comes first, and `id`, printed below it.
        narrow: the names of the columns to print.
        wide: the same for a terminal of at least `least` characters.
        least: see `wide`.
    """
    from rich.text import Text

    console = console_on(sys.stdout)
    is_wide = console.width >= least
    names = [name for name in (wide if is_wide else narrow) if name != "id"]
    table = _table(names)
    for row in rows:
        cells = [Text("\n".join(map(_on_terminal, row[name]))) for name in names]
        cells[0].append(f"\n{_on_terminal(row['id'][0])}", style="dim")
        table.add_row(*cells)
    console.print(table)
    if not is_wide and tuple(narrow) != tuple(wide):
        hint = f"for the labelled films most like it: atx explain ID, or {least} columns"
        console.print(Text(hint, style="dim"))


def _table(names: Iterable[str]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    for name in names:
        if name == "keep":
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold")
    return table


def _on_terminal(text: str) -> str:
    """Return text that does not reverse what follows it on its line."""
    clean = plain(text)
    reverses = any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in clean)
    return f"{clean}\u200e" if reverses else clean

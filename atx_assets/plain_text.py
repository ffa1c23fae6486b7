"""Makes text with any content safe for a terminal.

Not here: tables of it (`commands/output/tables.py`).
"""

#: Zero-width spaces, joiners and marks of direction, a byte order mark, variation selectors.
_JOINERS = dict.fromkeys((*range(0x200B, 0x2010), 0x2060, 0xFEFF, *range(0xFE00, 0xFE10)))


def plain(text: str) -> str:
    """Return text without what a terminal would obey: a title may contain anything.

    Characters that join others, or select their look, are left out: terminals differ in the width.
    """
    return "".join(
        c if c.isprintable() else " " if c.isspace() else "?" for c in text.translate(_JOINERS)
    )


def shown(text: str, most: int = 100) -> str:
    """Return the beginning of a text with any content, on one line that is safe for a terminal."""
    short = plain(text[: most + 1])
    return short if len(short) <= most else f"{short[: most - 1]}…"

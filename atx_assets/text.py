"""The normal form in which texts are compared, and the key that it gives a title without an id.

Keys, compared names and categories all go through `normal_form`, so that a film or a
genre is the same however it is spelled. Not here: what is shown, which stays as it came.
"""

from unicodedata import category, normalize


class _WithoutFormats(dict[int, int | None]):
    """A table for `str.translate` that drops format characters, filled as characters occur."""

    def __missing__(self, point: int) -> int | None:
        kept = None if category(chr(point)) == "Cf" else point
        self[point] = kept
        return kept


_WITHOUT_FORMATS = _WithoutFormats()


def normal_form(text: str) -> str:
    """Return a text as it is compared: NFKC, no format characters, blanks collapsed, casefolded.

    Format characters are Unicode's category Cf: zero-width characters, marks of direction, soft
    hyphens. The normal form of a normal form is itself.

    >>> normal_form(" Die\\u00a0 GROSSE  Stil\\u200ble") == normal_form("die große Stille")
    True
    """
    if text.isascii():
        return " ".join(text.lower().split())
    # Format characters go first, or they would separate what NFKC composes. Casefolding splits
    # some characters, which the second NFKC combines again.
    folded = normalize("NFKC", text.translate(_WITHOUT_FORMATS)).casefold()
    return " ".join(normalize("NFKC", folded).split())


def key_without_id(title: str, year: int | None) -> str:
    """Return the key of a title that has no IMDb id.

    >>> key_without_id("The  Thing", 1982)
    'the thing|1982'
    """
    return f"{normal_form(title)}|{'' if year is None else year}"


def key_in_normal_form(key: str) -> str:
    """Return a title's key, of this or an earlier release, as `key_without_id` makes it.

    An IMDb id stays as it is.
    """
    title, bar, year = key.rpartition("|")
    return normal_form(title) + bar + year

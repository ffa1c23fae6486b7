"""Parts of the films: the share of keeps in each, and in which parts the model errs most.

Not here: how good the model is on all of them (`learning/quality.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from atx_assets.learning.features import column_in_words, words_of
from atx_assets.report.records import LANGUAGES, about_release
from atx_assets.report.scored_films import Scored
from atx_assets.text import normal_form

KINDS = ("genre", "language", "decade")

#: The fewest labelled films in a part whose errors are reported: with fewer, a share says little.
LEAST = 20
#: The number of weak parts that are reported.
WEAKEST = 12


@dataclass(frozen=True)
class Share:
    """One part of the films, and its share of keeps.

    `labelled` and `films` are counts; `labelled_kept` is the share of keeps among the labelled,
    null if there are none, `predicted_kept` the share of predicted keeps among all its films.
    """

    name: str
    labelled: int
    labelled_kept: float | None
    films: int
    predicted_kept: float


@dataclass(frozen=True)
class Slice:
    """The errors among the labelled films of one part.

    Counts: `titles` labelled, `keeps` among them, `false_positives`, `false_negatives`. `error` is
    the share of wrong verdicts.
    """

    name: str
    titles: int
    keeps: int
    false_positives: int
    false_negatives: int

    @property
    def error(self) -> float:
        """The share of the titles whose verdict is wrong."""
        return (self.false_positives + self.false_negatives) / self.titles

    @property
    def surely(self) -> float:
        """The share that is wrong almost certainly: the lower end of Wilson's interval (1927)."""
        z, n, share = 1.645, self.titles, self.error
        middle = share + z * z / (2 * n)
        room = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return max(0.0, (middle - room) / (1 + z * z / n))


def share_kept(scored: Scored, kind: str) -> list[Share]:
    """Return the share of keeps for each genre, language or decade, the most frequent first."""
    results = scored.results
    known = results["actual"].is_valid().to_numpy()
    keep = results["actual"].fill_null(False).to_numpy()
    predicted = results["predicted"].to_numpy()
    found = []
    for name, rows in _parts(scored.titles, kind):
        labelled = int(known[rows].sum())
        found.append(
            Share(
                name,
                labelled,
                float(keep[rows].sum() / labelled) if labelled else None,
                len(rows),
                float(predicted[rows].mean()),
            )
        )
    if kind == "decade":
        return sorted(found, key=lambda share: share.name, reverse=True)
    return sorted(found, key=lambda share: (-share.films, share.name))


def weak_slices(scored: Scored) -> list[Slice]:
    """Return the parts in which more verdicts are wrong than elsewhere, the most certain first.

    A part is weak if the lower end of its error's 95% interval (one-sided) is above the
    error of all labelled films: among many small parts some have errors by chance. All labelled
    films come first, then those that a person and a rule labelled.
    """
    results = scored.results
    known = np.flatnonzero(results["actual"].is_valid().to_numpy())
    always = [("all labelled films", known)]
    for source, name in (("human", "labelled by a person"), ("rule", "labelled by a rule")):
        given = pc.equal(results["label_source"], source).fill_null(False).to_numpy()
        always.append((name, known[given[known]]))
    parts = [
        (f"{kind} {name}", rows) for kind in KINDS for name, rows in _parts(scored.titles, kind)
    ]
    parts += list(_unknown(scored))
    weak = [_slice(name, rows[np.isin(rows, known)], scored) for name, rows in parts]
    first = [_slice(name, rows, scored) for name, rows in always if len(rows)]
    usual = first[0].error if first else 0.0
    weak = [part for part in weak if part.titles >= LEAST and part.surely > usual]
    weak.sort(key=lambda part: (-part.surely, part.name))
    return [*first, *weak[:WEAKEST]]


def weak_table(scored: Scored) -> tuple[list[str], list[list[str]]]:
    """Return the weak parts as a table of text."""
    heads = ["part", "labelled", "keeps", "false positives", "false negatives", "wrong"]
    return heads, [
        [
            part.name,
            *(f"{n}" for n in (part.titles, part.keeps)),
            *(f"{n}" for n in (part.false_positives, part.false_negatives)),
            f"{part.error:.1%}",
        ]
        for part in weak_slices(scored)
    ]


def release_skips(scored: Scored) -> dict[str, int]:
    """Count the films that rules skipped only for their release, by what the model says of them.

    Returns:
        `skips`, and `predicted_keep` among them: false positives that are not about taste.
    """
    reasons = scored.titles["label_reason"].to_pylist()
    actual, predicted = (
        scored.results["actual"].to_pylist(),
        scored.results["predicted"].to_pylist(),
    )
    verdicts = [
        keep
        for reason, label, keep in zip(reasons, actual, predicted, strict=True)
        if label is False and about_release(reason)
    ]
    return {"skips": len(verdicts), "predicted_keep": sum(verdicts)}


def _slice(name: str, rows: NDArray[np.intp], scored: Scored) -> Slice:
    actual = scored.results["actual"].fill_null(False).to_numpy()[rows]
    predicted = scored.results["predicted"].to_numpy()[rows]
    return Slice(
        name,
        len(rows),
        int(actual.sum()),
        int((predicted & ~actual).sum()),
        int((~predicted & actual).sum()),
    )


def _unknown(scored: Scored) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Yield the films for which a number is unknown."""
    for number in scored.bundle.encoding.numeric:
        values = scored.bundle.encoding.known_numbers(scored.titles, number.column)
        yield f"{column_in_words(number.column)} unknown", np.flatnonzero(np.isnan(values))


def _parts(titles: pa.Table, kind: str) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Yield each genre, language or decade, and the rows of its films."""
    if kind == "decade":
        years = pc.cast(titles["release_year"], "double").to_numpy()
        decades = np.floor(years / 10) * 10
        for decade in np.unique(decades[~np.isnan(decades)]):
            yield f"{decade:.0f}s", np.flatnonzero(decades == decade)
        return
    column = kind if kind == "genre" else next(n for n in LANGUAGES if n in titles.column_names)
    rows, codes, words = words_of(titles[column])
    if not len(words):  # no film has one: splitting nothing would still give one part
        return
    # Spellings of one part are merged; it is shown in the most frequent spelling.
    forms = {form: at for at, form in enumerate(dict.fromkeys(map(normal_form, words)))}
    spelled = dict[int, str]()
    times = np.bincount(codes, minlength=len(words))
    for word in np.argsort(-times, kind="stable"):
        spelled.setdefault(forms[normal_form(words[word])], words[word])
    parts = np.array([forms[normal_form(word)] for word in words])[codes]
    order = np.argsort(parts, kind="stable")
    ends = np.cumsum(np.bincount(parts, minlength=len(forms)))
    for part, at in enumerate(np.split(rows[order], ends[:-1])):
        yield spelled[part], np.unique(at)

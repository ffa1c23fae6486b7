"""Films as records that a person can judge by: for lists, queue, report and `atx explain`.

Not here: which films are in a list (`defs/assets/error_lists.py`, `defs/assets/review_queue.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atx_assets.learning.neighbours import nearest
from atx_assets.learning.reasons import reasons
from atx_assets.report.scored_films import Scored
from atx_assets.sources.label_changes import verdict_in_words

#: Labelled films named for each film, and for how many films of a list: each is compared
#: with all labelled ones.
NEAREST, COMPARED = 3, 1_000

#: Characters that change the direction of writing: Unicode's embeddings, overrides and isolates.
_TURNS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])

_NUMBERS = ("release_year", "rt_score", "metascore", "imdb_rating", "imdb_votes")
#: The languages of a film, in either layout.
LANGUAGES = ("language", "spoken_languages")

#: The start of a rule's reason if the rule skipped the release, and not the film.
_RELEASE = ("resolution", "video_codec", "audio_codec", "upload_type", "uploader")


def records_of(scored: Scored, rows: NDArray[np.integer]) -> list[dict[str, Any]]:
    """Describe films so that a person can judge them without another tool.

    Args:
        scored: the films.
        rows: which to describe, in the order wanted.

    Returns:
        For each, the columns of `schemas.ERROR_RECORDS`.
    """
    wanted, scores = scored.titles.take(rows), scored.results.take(rows).to_pylist()
    encoding = scored.bundle.encoding
    numbers = {name: encoding.known_numbers(wanted, name) for name in _NUMBERS}
    why, near = reasons(wanted, scored.bundle), _nearest(wanted, scored)
    language = next(name for name in LANGUAGES if name in wanted.column_names)
    about = ["hash", "original_title", "label_reason", "label_date", "genre", language]
    plain = wanted.select(about).to_pylist()
    return [
        {
            "media_title": score["media_title"],
            **{name: _number(values[at]) for name, values in numbers.items()},
            "genre": plain[at]["genre"] or [],
            "language": plain[at][language] or [],
            "predicted": score["predicted"],
            "actual": score["actual"],
            "cm_value": score["cm_value"],
            "probability": score["probability"],
            "label_source": score["label_source"],
            "beyond_threshold": score["probability"] - scored.bundle.threshold,
            "label_reason": plain[at]["label_reason"],
            "about_release": about_release(plain[at]["label_reason"]),
            "label_date": _day(plain[at]["label_date"]),
            "why": why[at],
            "nearest": near[at],
            "imdb_id": score["imdb_id"],
            "link": link(score["imdb_id"]),
            "original_title": plain[at]["original_title"],
            "hash": plain[at]["hash"],
            "key": score["key"],
        }
        for at, score in enumerate(scores)
    ]


def about_release(reason: str | None) -> bool:
    """Return whether a rule skipped a title only for its releases, such as for their resolution."""
    return bool(reason) and all(one.startswith(_RELEASE) for one in (reason or "").split("; "))


def link(imdb_id: str | None) -> str | None:
    """Return the address of a title's page at IMDb."""
    return f"https://www.imdb.com/title/{imdb_id}/" if imdb_id else None


def _nearest(wanted: pa.Table, scored: Scored) -> list[list[str]]:
    """Say in words which labelled films the model treats most like each film."""
    labelled = scored.titles.filter(scored.titles["trains"])
    found, shares = nearest(wanted.slice(0, COMPARED), labelled, scored.bundle, NEAREST)
    names = labelled.select(["media_title", "release_year", "label", "label_source"])
    described = [_described(row) for row in names.take(found.ravel()).to_pylist()]
    each = [
        f"{name} ({share:.0%} alike)" for name, share in zip(described, shares.ravel(), strict=True)
    ]
    width = found.shape[1]
    return [each[at * width : (at + 1) * width] for at in range(wanted.num_rows)]


def _described(row: dict[str, Any]) -> str:
    verdict = verdict_in_words(row["label"], row["label_source"])
    # A title may change the direction of writing, also of the text after it.
    name = row["media_title"].translate(_TURNS)
    return f"{name} ({row['release_year'] or 'year unknown'}): {verdict}"


def _number(value: float) -> float | int | None:
    if value != value:
        return None
    return int(value) if value == int(value) else float(value)


def _day(value: Any) -> str | None:
    return None if value is None else value.date().isoformat()

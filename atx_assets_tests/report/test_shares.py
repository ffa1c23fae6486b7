"""Parts of the films: what is kept of each, and where the model is weak."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from atx_assets.report import shares as module
from atx_assets.report.records import about_release
from atx_assets.report.scored_films import Scored
from atx_assets.report.shares import release_skips, share_kept, weak_slices


@dataclass(frozen=True)
class Bundle:
    """Knows no numbers."""

    encoding: Any = field(default_factory=lambda: type("Encoding", (), {"numeric": ()})())


def scored(
    *films: tuple[list[str], int | None, bool | None, bool], reasons=None, by=None
) -> Scored:
    """Films as (genres, year, label, predicted)."""
    genres, years, labels, predicted = zip(*films, strict=True)
    rows = len(films)
    titles = pa.table(
        {
            "genre": pa.array(genres, pa.list_(pa.string())),
            "language": pa.array([["English"]] * rows, pa.list_(pa.string())),
            "release_year": pa.array(years, pa.int64()),
            "label_reason": pa.array(reasons or [None] * rows, pa.string()),
        }
    )
    given = by or [None if label is None else "rule" for label in labels]
    results = pa.table(
        {
            "actual": pa.array(labels, pa.bool_()),
            "predicted": pa.array(predicted, pa.bool_()),
            "label_source": pa.array(given, pa.string()),
        }
    )
    return Scored(titles, results, Bundle())  # type: ignore[arg-type]


def test_shares_are_of_the_labelled_and_of_all_films():
    films = scored(
        (["Drama", "War"], 1999, True, True),
        (["Drama"], 1999, False, False),
        (["Drama"], 2001, None, True),
        (["War", "War"], 2001, None, False),
    )
    drama, war = share_kept(films, "genre")
    assert (drama.name, drama.labelled, drama.labelled_kept) == ("Drama", 2, 0.5)
    assert (drama.films, drama.predicted_kept) == (3, pytest.approx(2 / 3))
    # Named twice in a film, it counts once.
    assert (war.films, war.labelled, war.labelled_kept, war.predicted_kept) == (2, 1, 1.0, 0.5)


def test_films_of_which_none_says_have_no_parts():
    """Kept out: a table without a language in it, as a migration leaves it, stopped the report."""
    assert share_kept(scored(([], 1999, True, True), ([], 2001, None, False)), "genre") == []


def test_a_part_without_labels_has_no_share_of_them():
    (part,) = share_kept(scored((["Noir"], 1950, None, False)), "genre")
    assert part.labelled_kept is None


def test_decades_come_the_newest_first_and_an_unknown_year_has_none():
    films = scored(
        ([], 1999, True, True),
        ([], 2000, True, True),
        ([], 2009, None, True),
        ([], None, True, True),
    )
    assert [(s.name, s.films) for s in share_kept(films, "decade")] == [("2000s", 2), ("1990s", 1)]


def test_the_weakest_parts_come_first_after_all_and_who_labelled():
    good = [(["Drama"], 1990, True, True)] * 60
    bad = [(["War"], 1990, False, True)] * 5 + [(["War"], 1990, True, False)] * 5
    fine = [(["War"], 1990, False, False)] * 20
    few = [(["Noir"], 1950, False, True)] * 5
    films = good + bad + fine + few
    by = ["human"] * 60 + ["rule"] * 35
    found = weak_slices(scored(*films, by=by))
    assert [s.name for s in found[:4]] == [
        "all labelled films",
        "labelled by a person",
        "labelled by a rule",
        "genre War",
    ]
    everything, _, _, war = found[:4]
    assert (everything.titles, everything.false_positives, everything.false_negatives) == (
        95,
        10,
        5,
    )
    assert (war.titles, war.keeps, war.false_positives, war.false_negatives) == (30, 5, 5, 5)
    assert war.error == pytest.approx(1 / 3)
    # Of five films a share says little, and where nothing is wrong nothing is weak.
    assert not {"genre Noir", "genre Drama"} & {s.name for s in found}
    assert module.LEAST == 20


def test_skips_for_the_release_alone_are_counted_apart():
    resolution = "resolution 720p is not in allowed_values"
    films = scored(
        ([], 1990, False, True),
        ([], 1990, False, False),
        ([], 1990, False, True),
        ([], 1990, True, True),
        ([], 1990, None, True),
        reasons=[resolution, resolution, "rt_score is null", None, None],
    )
    assert release_skips(films) == {"skips": 2, "predicted_keep": 1}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("resolution 720p is not in allowed_values", True),
        ("resolution 480p is not in x; video_codec h263 is not in y", True),
        ("resolution 720p is not in allowed_values; rt_score 50 is below min", False),
        ("rt_score is null", False),
        ("a resolution", False),
        ("", False),
        (None, False),
    ],
)
def test_a_reason_is_about_the_release_only_if_all_of_it_is(reason, expected):
    assert about_release(reason) is expected


def test_spellings_of_one_genre_are_one_part():
    films = scored(
        (["Come\u0301die"], 1999, True, True),
        (["Comédie", "comédie"], 1999, False, False),
        (["Comédie"], 1999, None, False),
    )
    [comedy] = share_kept(films, "genre")
    assert (comedy.name, comedy.films, comedy.labelled) == ("Comédie", 3, 2)

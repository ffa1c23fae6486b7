"""What is told of labels that differ from those learned from last."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atx_assets.sources.label_changes import NAMED, LabelChanges, label_changes

KEEP, SKIP = {"rejection_status": "override"}, {"rejection_status": "rejected"}
RULE_KEEP = {"rejection_status": "accepted"}
RULE_SKIP = {"rejection_status": "rejected", "rejection_reason": "rt_score is null"}
LEARNED = ["key", "media_title", "label", "label_source"]


@pytest.fixture
def changes(titles_of, release):
    """The changes between two states of a library, given as the verdict on each number."""

    def made(before: dict[int, Any], after: dict[int, Any]) -> LabelChanges:
        then, now = (
            # Never without a film: the source of titles has at least one.
            titles_of("media", [release(n, **known) for n, known in {0: {}, **state}.items()])
            for state in (before, after)
        )
        return label_changes(now, then.filter(then["trains"]).select(LEARNED))

    return made


def counts(found: LabelChanges) -> tuple[int, int, int]:
    return found.added, found.changed, found.removed


def told(title: str, was: str, now: str, year: int | None = 2001) -> dict[str, Any]:
    return {"media_title": title, "release_year": year, "was": was, "is": now}


def names(found: LabelChanges) -> list[str]:
    return [change["media_title"] for change in found.first]


def table(rows: Sequence[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    """An empty or hand-made pair of titles and training table."""
    kinds = {"key": pa.string(), "media_title": pa.string(), "label": pa.bool_()}
    kinds |= {"label_source": pa.string(), "release_year": pa.int64(), "trains": pa.bool_()}
    titles = pa.Table.from_pylist(list(rows), pa.schema(kinds))
    return titles, titles.select(LEARNED)


def test_labels_that_are_those_learned_from_are_no_changes(changes):
    state = {1: KEEP, 2: SKIP, 3: RULE_KEEP, 4: RULE_SKIP, 5: {}}
    assert changes(state, state) == LabelChanges(0, 0, 0, [])


@pytest.mark.parametrize(
    ("before", "after", "was", "now"),
    [
        (KEEP, SKIP, "keep by a person", "skip by a person"),
        (RULE_SKIP, KEEP, "skip by a rule", "keep by a person"),
        (RULE_KEEP, RULE_SKIP, "keep by a rule", "skip by a rule"),
        (RULE_KEEP, KEEP, "keep by a rule", "keep by a person"),
        (SKIP, RULE_SKIP, "skip by a person", "skip by a rule"),
    ],
    ids=["verdict", "verdict and giver", "verdict by rules", "a person confirms", "giver alone"],
)
def test_another_verdict_or_another_giver_is_a_change(changes, before, after, was, now):
    found = changes({1: before, 2: KEEP}, {1: after, 2: KEEP})
    assert found == LabelChanges(0, 1, 0, [told("Film 1", was, now)])


def test_another_reason_of_a_rule_is_no_change(changes):
    other = {**RULE_SKIP, "rejection_reason": "rt_score 50 is below min"}
    assert changes({1: RULE_SKIP}, {1: other}).first == []


@pytest.mark.parametrize("before", [{}, {1: {}}], ids=["a new title", "an unlabelled one"])
def test_a_label_that_was_not_there_is_added(changes, before):
    found = changes(before, {1: SKIP})
    assert found == LabelChanges(1, 0, 0, [told("Film 1", "no label", "skip by a person")])


def test_a_title_that_lost_its_label_is_told_from_one_that_is_gone(changes):
    found = changes({1: KEEP, 2: RULE_SKIP}, {1: {}})
    assert found == LabelChanges(
        0,
        0,
        2,
        [
            told("Film 1", "keep by a person", "no label to learn from"),
            told("Film 2", "skip by a rule", "not among the films", None),
        ],
    )


def test_a_label_that_may_not_be_learned_from_any_more_is_removed(titles_of, entry):
    known = {"label": "would_watch", "human_labeled": True}
    then = titles_of("training", [entry(1, **known), entry(2, **known), entry(3, label=None)])
    models = {"label": "would_watch"}
    now = titles_of(
        "training", [entry(1, **known, anomalous=True), entry(2, **models), entry(3, **models)]
    )
    found = label_changes(now, then.filter(then["trains"]).select(LEARNED))
    assert counts(found) == (0, 0, 2)
    assert {change["is"] for change in found.first} == {"no label to learn from"}


def test_a_title_that_is_still_there_goes_by_its_name_of_today(changes):
    found = changes(
        {1: KEEP, 2: KEEP}, {1: {"media_title": "Alien"}, 2: {**SKIP, "media_title": "Brazil"}}
    )
    assert names(found) == ["Brazil", "Alien"]


def test_what_changed_comes_before_what_was_added_and_removed_each_by_key(changes):
    before = {1: KEEP, 2: KEEP, 3: KEEP, 4: KEEP}
    after = {3: SKIP, 4: SKIP, 5: KEEP, 6: KEEP}
    found = changes(
        {n: before[n] for n in (4, 1, 3, 2)}, {n: after[n] for n in (6, 3, 5, 4)} | {1: {}}
    )
    assert counts(found) == (2, 2, 2)
    assert names(found) == [f"Film {n}" for n in (3, 4, 5, 6, 1, 2)]


def test_a_removed_label_has_its_place_whatever_the_order_of_the_training_table():
    titles, learned = table(
        [
            {"key": key, "media_title": key, "label": True, "label_source": "rule", "trains": True}
            for key in ("tt3", "tt1", "tt2")
        ]
    )
    assert names(label_changes(titles.slice(0, 0), learned)) == ["tt1", "tt2", "tt3"]


def test_all_are_counted_and_fifty_are_named(changes):
    before = dict.fromkeys(range(1, 41), KEEP) | dict.fromkeys(range(101, 161), RULE_SKIP)
    after = dict.fromkeys(range(1, 41), SKIP) | dict.fromkeys(range(201, 271), KEEP)
    found = changes(before, after)
    assert counts(found) == (70, 40, 60)
    assert len(found.first) == NAMED == 50
    assert names(found) == [f"Film {n}" for n in (*range(1, 41), *range(201, 211))]


def test_counts_are_read_with_separators(changes):
    assert str(LabelChanges(1234, 0, 5, [])) == "1,234 added, 0 changed, 5 removed"


def test_nothing_learned_yet_makes_every_label_an_added_one(titles_of, release):
    titles = titles_of("media", [release(1, **KEEP), release(2)])
    found = label_changes(titles, titles.slice(0, 0).select(LEARNED))
    assert counts(found) == (1, 0, 0)


def test_empty_tables_have_no_changes():
    assert label_changes(*table([])) == LabelChanges(0, 0, 0, [])


@pytest.mark.parametrize(
    "title", ["", " ", "N/A", 'It\'s "Æon" | 100 % <b>\n\t\\', "Straße\u0301 🎬\u202e", "|2001"]
)
def test_titles_with_odd_characters_keep_them(changes, title):
    odd = {"media_title": title, "imdb_id": None, "original_title": "Odd.2001"}
    found = changes({1: {**odd, **RULE_KEEP}}, {1: {**odd, **KEEP}})
    name = title if title not in ("", "N/A") else "Odd.2001"
    assert found.first == [told(name, "keep by a rule", "keep by a person")]


@pytest.mark.parametrize("imdb", [None, "tt0000001"])
def test_a_title_without_a_year_has_none(changes, imdb):
    unknown = {"release_year": None, "imdb_id": imdb}
    found = changes({1: {**unknown, **KEEP}}, {1: unknown})
    assert found.first == [told("Film 1", "keep by a person", "no label to learn from", None)]


STATES = st.dictionaries(
    st.integers(1, 6), st.sampled_from([KEEP, SKIP, RULE_KEEP, RULE_SKIP, {}]), max_size=6
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=STATES, after=STATES)
def test_every_label_that_differs_is_counted_once_and_back_again_the_other_way(
    changes, before, after
):
    there, back = changes(before, after), changes(after, before)
    labelled = [{n for n, known in state.items() if known} for state in (before, after)]
    differ = {n for n in labelled[0] & labelled[1] if before[n] != after[n]}
    expected = len(labelled[1] - labelled[0]), len(differ), len(labelled[0] - labelled[1])
    assert counts(there) == expected
    assert counts(back) == expected[::-1]
    assert len(there.first) == min(sum(expected), NAMED)

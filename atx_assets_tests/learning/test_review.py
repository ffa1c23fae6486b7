"""Which titles are worth a judgement, and in which order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atx_assets.learning.review import rank_for_review

KEEP, SKIP, UNJUDGED, LEFT_OUT = 1, 0, -1, -2


def ranked(*titles: tuple[float, int, bool], threshold: float = 0.4) -> list[int]:
    probability, actual, by_person = (np.array(column) for column in zip(*titles, strict=True))
    return rank_for_review(probability, threshold, actual, by_person).tolist()


def test_unjudged_titles_come_by_how_little_the_model_can_tell():
    titles = [(p, UNJUDGED, False) for p in (0.9, 0.41, 0.1, 0.4, 0.6)]
    # As a share of the room on its side of .4: .83, .02, .75, 0, .33.
    assert ranked(*titles) == [3, 1, 4, 2, 0]


def test_an_unjudged_title_of_which_the_model_is_certain_is_not_worth_a_judgement():
    assert ranked((1.0, UNJUDGED, False), (0.0, UNJUDGED, False)) == []


def test_judged_titles_come_by_how_surely_the_model_says_otherwise():
    titles = [(0.5, SKIP, False), (0.95, SKIP, False), (0.05, KEEP, False), (0.3, KEEP, False)]
    assert ranked(*titles) == [1, 2, 3, 0]


def test_a_title_on_which_model_and_label_agree_is_left_out():
    assert ranked((0.95, KEEP, False), (0.1, SKIP, False), (0.4, KEEP, True)) == []


def test_a_persons_label_is_doubted_half_as_much_as_a_rules():
    # .95 lies .92 of the way, and half of that is less than the .5 of a .7.
    assert ranked((0.95, SKIP, True), (0.7, SKIP, False), (0.95, SKIP, False)) == [2, 1, 0]


def test_at_the_threshold_the_model_says_keep():
    assert ranked((0.4, SKIP, False), (0.39, KEEP, False)) == [1]


def test_a_wrong_label_and_an_open_question_are_weighed_on_one_scale():
    titles = [(0.42, UNJUDGED, False), (0.99, SKIP, False), (0.7, UNJUDGED, False)]
    assert ranked(*titles) == [1, 0, 2]


def test_other_titles_are_left_out():
    assert ranked((0.4, LEFT_OUT, False), (0.9, LEFT_OUT, True)) == []


def test_equals_keep_their_order_and_nothing_gives_nothing():
    assert ranked(*[(0.5, UNJUDGED, False)] * 5) == [0, 1, 2, 3, 4]
    nothing = np.array([])
    assert rank_for_review(nothing, 0.5, nothing, nothing.astype(bool)).tolist() == []


@pytest.mark.parametrize("threshold", [1e-12, 1 - 1e-12])
def test_a_threshold_at_the_end_divides_by_nothing(threshold):
    titles = [(0.0, UNJUDGED, False), (1.0, SKIP, False), (0.5, KEEP, False)]
    with np.errstate(all="raise"):
        assert len(ranked(*titles, threshold=threshold)) <= 3


TITLES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([KEEP, SKIP, UNJUDGED, LEFT_OUT]), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(titles=TITLES, threshold=st.floats(0.01, 0.99))
def test_no_title_comes_twice_and_only_doubtful_ones_come(titles, threshold):
    rows = ranked(*titles, threshold=threshold)
    assert len(set(rows)) == len(rows)
    for row in rows:
        probability, actual, _ = titles[row]
        assert actual != LEFT_OUT
        assert actual == UNJUDGED or (probability >= threshold) != (actual == KEEP)
    wrong = {
        n
        for n, (p, actual, _) in enumerate(titles)
        if actual in (KEEP, SKIP) and (p >= threshold) != (actual == KEEP) and p != threshold
    }
    assert wrong <= set(rows)

"""Which titles are worth a label, and in which order."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from atx_assets.learning import review
from atx_assets.learning.evaluation import assignments, out_of_fold
from atx_assets.learning.folds import LEAST_LABELS
from atx_assets.learning.models import fit, predict
from atx_assets.learning.review import (
    LEAST_UNSURE,
    SCEPTICS,
    can_be_sceptical,
    likely_wrong,
    sceptical_probabilities,
    unsureness,
    worth_labelling,
)

KEEP, SKIP = 1, 0
PERSON, RULE = True, False
RECIPE = {"max_depth": 3, "learning_rate": 0.2, "n_estimators": 30}


# -- labels to label again


def doubted(*titles: tuple[float, int, bool]) -> list[int]:
    probability, labels, by_person = (np.array(column) for column in zip(*titles, strict=True))
    return likely_wrong(labels, probability, probability, by_person).tolist()


def test_labels_come_by_how_little_of_them_the_models_believe():
    titles = [(0.6, SKIP, RULE), (0.95, SKIP, RULE), (0.02, KEEP, RULE), (0.3, KEEP, RULE)]
    assert doubted(*titles) == [2, 1, 3, 0]


def test_a_label_that_is_more_likely_right_than_wrong_is_left_out():
    assert doubted((0.95, KEEP, RULE), (0.1, SKIP, PERSON), (0.51, KEEP, PERSON)) == []
    assert doubted((0.5, KEEP, RULE), (0.5, SKIP, RULE)) == []


def test_every_doubtful_label_of_a_rule_comes_before_every_one_of_a_person():
    titles = [(0.01, KEEP, PERSON), (0.45, KEEP, RULE), (0.99, SKIP, PERSON), (0.6, SKIP, RULE)]
    assert doubted(*titles) == [3, 1, 0, 2]


def test_a_label_of_a_rule_that_is_not_doubted_does_not_come_before_a_persons_that_is():
    assert doubted((0.9, KEEP, RULE), (0.2, KEEP, PERSON)) == [1]


def test_equally_doubtful_labels_keep_their_order_and_nothing_gives_nothing():
    assert doubted(*[(0.25, KEEP, RULE), (0.75, SKIP, RULE)] * 3) == [0, 1, 2, 3, 4, 5]
    nothing = np.array([])
    assert likely_wrong(nothing, nothing, nothing, nothing.astype(bool)).tolist() == []


def test_a_persons_label_must_be_doubted_by_those_who_trust_rules_as_well():
    """Kept out: people's keeps doubted because models that distrust rules believe in few keeps."""
    labels, sceptical = np.array([KEEP] * 4), np.array([0.2, 0.2, 0.1, 0.1])
    blind, by_person = np.array([0.8, 0.4, 0.8, 0.4]), np.array([PERSON, PERSON, RULE, RULE])
    assert likely_wrong(labels, sceptical, blind, by_person).tolist() == [2, 3, 1]


TITLES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from([KEEP, SKIP]), st.booleans()),
    min_size=1,
    max_size=20,
)


@given(titles=TITLES)
def test_all_doubtful_labels_come_once_by_giver_and_then_by_doubt(titles):
    rows = doubted(*titles)
    own = [p if label == KEEP else 1 - p for p, label, _ in titles]
    assert sorted(rows) == [at for at, chance in enumerate(own) if chance < 0.5]
    assert rows == sorted(rows, key=lambda at: (titles[at][2], own[at], at))


# -- models that do not trust rules


def library(seed: int = 0, titles: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, true labels and givers: people gave two thirds of the keeps, rules the rest."""
    draw = np.random.default_rng(seed)
    matrix = draw.random((titles, 6)).astype(np.float32)
    labels = (matrix[:, 0] + matrix[:, 1] + 0.2 * draw.standard_normal(titles) > 1.25).astype(int)
    return matrix, labels, (labels == KEEP) & (draw.random(titles) < 2 / 3)


def with_wrong_keeps(
    labels: np.ndarray, number: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels in which a rule keeps so many titles that are skips, and which."""
    wrong = np.zeros(len(labels), bool)
    skips = np.flatnonzero(labels == SKIP)
    wrong[np.random.default_rng(100 + seed).choice(skips, number, replace=False)] = True
    return np.where(wrong, KEEP, labels), wrong


@pytest.mark.parametrize(
    ("by_people", "by_rules", "possible"),
    [
        (LEAST_LABELS, 1, True),
        (LEAST_LABELS - 1, 50, False),
        (0, 50, False),
        (LEAST_LABELS, 0, False),
    ],
)
def test_scepticism_takes_enough_keeps_by_people_and_one_by_a_rule(by_people, by_rules, possible):
    labels = np.repeat([KEEP, SKIP], [by_people + by_rules, 40])
    by_person = np.arange(len(labels)) < by_people
    assert can_be_sceptical(labels, by_person) == possible


def test_skips_by_people_do_not_count_as_keeps_by_people():
    labels = np.repeat([KEEP, SKIP], [2 * LEAST_LABELS, LEAST_LABELS])
    assert not can_be_sceptical(labels, labels == SKIP)


def test_a_sceptical_probability_is_blind_and_takes_the_keeps_of_rules_for_skips():
    matrix, labels, by_person = library(titles=300)
    folds = assignments(labels)
    found = sceptical_probabilities(matrix, labels, by_person, RECIPE, folds)
    taught = np.where(by_person, labels, SKIP)
    for row in (0, 123, 299):
        answers = []
        for seed in range(SCEPTICS):
            seen = folds[seed] != folds[seed][row]
            assert not seen[row]
            model = fit(matrix[seen], taught[seen], RECIPE)
            answers.append(float(predict(model, matrix[row : row + 1])[0]))
        assert found[row] == pytest.approx(np.mean(answers), abs=1e-12)


def test_a_sceptical_probability_does_not_hang_on_the_titles_own_label_or_giver():
    """Kept out: a label that speaks for itself when it is doubted."""
    matrix, labels, by_person = library(titles=300)
    folds = assignments(labels)
    before = sceptical_probabilities(matrix, labels, by_person, RECIPE, folds)
    for row in (5, 77):
        changed, giver = labels.copy(), by_person.copy()
        changed[row], giver[row] = 1 - labels[row], ~by_person[row]
        after = sceptical_probabilities(matrix, changed, giver, RECIPE, folds)
        assert after[row] == before[row]
    assert before.dtype == np.float64


def test_a_second_time_gives_the_same_bytes():
    matrix, labels, by_person = library(titles=300)
    folds = assignments(labels)
    once, again = (
        sceptical_probabilities(matrix, labels, by_person, RECIPE, folds).tobytes()
        for _ in range(2)
    )
    assert once == again


@pytest.mark.parametrize("seed", range(3))
def test_wrong_keeps_of_rules_are_found_better_by_models_that_do_not_trust_them(seed):
    """A wrong keep has neighbours kept by the same mistake: here, all of one corner."""
    matrix, truth, by_person = library(seed)
    corner = (truth == SKIP) & (matrix[:, 2] > 0.75)
    wrong = corner & (np.random.default_rng(seed).random(len(truth)) < 0.6)
    labels = np.where(wrong, KEEP, truth)
    folds = assignments(labels)
    found = {}
    for name, probability in {
        "sceptical": sceptical_probabilities(matrix, labels, by_person, RECIPE, folds),
        "trusting": out_of_fold(matrix, labels, RECIPE).probabilities.mean(axis=0),
    }.items():
        doubt = np.where(labels == KEEP, 1 - probability, probability)
        found[name] = average_precision_score(wrong, doubt)
    assert found["sceptical"] > found["trusting"] + 0.1


@pytest.mark.parametrize("seed", range(3))
def test_wrong_keeps_of_rules_are_the_first_to_label_again(seed):
    matrix, truth, by_person = library(seed)
    labels, wrong = with_wrong_keeps(truth, 40, seed)
    assert can_be_sceptical(labels, by_person)
    folds = assignments(labels)
    probability = sceptical_probabilities(matrix, labels, by_person, RECIPE, folds)
    first = likely_wrong(labels, probability, probability, by_person)[:40]
    assert wrong[first].mean() > 0.6
    assert not by_person[first].any()


# -- unlabelled titles to label


def chosen(
    probability: Sequence[float], leaves: Sequence[Sequence[int]], number: int = 50
) -> tuple[list[int], list[float]]:
    where = np.array(leaves)
    rows, alike = worth_labelling(np.array(probability), 0.4, lambda at: where[at], number)
    return rows.tolist(), alike.tolist()


def unlike(number: int) -> list[list[int]]:
    """Leaves of titles that no tree holds to be alike."""
    return [[at] * 4 for at in range(number)]


def test_a_model_is_unsure_at_the_threshold_and_certain_at_the_ends():
    found = unsureness(np.array([0, 0.2, 0.4, 0.7, 1]), 0.4)
    np.testing.assert_allclose(found, [0, 0.5, 1, 0.5, 0], atol=1e-12)


@pytest.mark.parametrize("threshold", [1e-12, 1 - 1e-12])
def test_a_threshold_at_the_end_divides_by_nothing(threshold):
    with np.errstate(all="raise"):
        found = unsureness(np.array([0, 0.5, 1]), threshold)
    assert ((found >= 0) & (found <= 1)).all()


def test_of_titles_unlike_each_other_the_most_unsure_come_first():
    # As a share of the room on its side of .4, how sure: .83, .02, .75, 0, .33.
    rows, alike = chosen([0.9, 0.41, 0.1, 0.4, 0.6], unlike(5))
    assert rows == [3, 1, 4, 2, 0]
    assert alike == [0] * 5


def test_a_title_of_which_the_model_is_certain_is_not_worth_a_label():
    assert chosen([0, 1, 0.4 * LEAST_UNSURE / 2, 0.99], unlike(4)) == ([], [])
    assert chosen([0.05], unlike(1))[0] == [0]


def test_a_title_like_one_above_it_waits_for_those_of_another_kind():
    leaves = [[1, 1, 1, 1], [1, 1, 1, 2], [5, 6, 7, 8]]
    rows, alike = chosen([0.4, 0.39, 0.2], leaves)
    assert rows == [0, 2, 1]
    assert alike == [0, 0, 0.75]


def test_ten_are_not_ten_of_the_same():
    """Very many titles of one kind, all less sure than the nine of other kinds."""
    probability = [0.4] * 900 + [0.3 + at / 1000 for at in range(9)]
    leaves = [[0] * 4] * 900 + unlike(10)[1:]
    rows, _ = chosen(probability, leaves, 10)
    assert rows == [0, *range(908, 899, -1)]


def test_titles_that_no_tree_tells_apart_are_asked_about_when_there_are_no_others():
    rows, alike = chosen([0.3, 0.4, 0.35], [[0] * 4] * 3)
    assert rows == [1, 2, 0]
    assert alike == [0, 1, 1]


def test_leaves_are_asked_for_once_and_for_the_most_unsure_alone():
    """Kept out: the leaves of a million titles for fifty of them."""
    probability = np.linspace(0, 1, 1000)
    asked = []

    def leaves(rows: np.ndarray) -> np.ndarray:
        asked.append(rows)
        return np.arange(len(rows))[:, None]

    worth_labelling(probability, 0.4, leaves, 10)
    (rows,) = asked
    assert len(rows) == 10 * review._POOL
    assert (
        unsureness(probability[rows], 0.4).min()
        >= np.sort(unsureness(probability, 0.4))[-len(rows)]
    )


def test_no_titles_need_no_leaves():
    def leaves(rows: np.ndarray) -> np.ndarray:
        raise AssertionError("asked for leaves of nothing")

    for probability, number in ((np.zeros(0), 10), (np.full(5, 0.4), 0), (np.ones(5), 10)):
        rows, alike = worth_labelling(probability, 0.4, leaves, number)
        assert len(rows) == len(alike) == 0


@given(
    titles=st.lists(
        st.tuples(st.floats(0, 1), st.lists(st.integers(0, 2), min_size=3, max_size=3)),
        min_size=1,
        max_size=20,
    ),
    number=st.integers(0, 25),
)
def test_each_choice_is_the_best_of_those_that_were_left(titles, number):
    probability, leaves = (list(column) for column in zip(*titles, strict=True))
    rows, alike = chosen(probability, leaves, number)
    unsure = unsureness(np.array(probability), 0.4)
    open_ones = [at for at in range(len(titles)) if unsure[at] >= LEAST_UNSURE]
    assert len(rows) == len(set(rows)) == min(number, len(open_ones))
    assert set(rows) <= set(open_ones)

    def nearest(at: int, before: list[int]) -> float:
        same = [np.mean(np.array(leaves[at]) == np.array(leaves[other])) for other in before]
        return max(same, default=0)

    for place, row in enumerate(rows):
        before = rows[:place]
        assert alike[place] == pytest.approx(nearest(row, before))
        if len(open_ones) <= review._POOL * number:
            worth = {at: unsure[at] * (1 - nearest(at, before)) for at in open_ones}
            best = max(worth[at] for at in open_ones if at not in before)
            assert worth[row] == pytest.approx(best)

"""Which labelled titles a model treats most like a title."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from atx_assets.learning import neighbours
from atx_assets.learning.models import fit
from atx_assets.learning.neighbours import leaves, nearest, proximity
from atx_assets.learning.reasons import reasons

RECIPE = {"max_depth": 2, "learning_rate": 0.3, "n_estimators": 6}


@pytest.fixture
def labelled(made_up):
    return made_up.titles


@pytest.fixture
def unlabelled(films):
    return films.filter(films["label"].is_null())


# -- leaves and proximity


def test_two_rows_with_the_same_leaf_in_every_tree_have_the_same_answer(made_up, bundle):
    where = leaves(bundle.model, made_up.matrix)
    assert where.shape == (len(made_up.labels), 20)
    answers = bundle.model.inplace_predict(made_up.matrix, missing=np.nan)
    for row in range(0, len(where), 25):
        same = (where == where[row]).all(axis=1)
        assert same[row]
        assert set(answers[same].tolist()) == {answers[row]}


def test_leaves_are_those_that_the_trees_lead_to(made_up):
    model = fit(made_up.matrix, made_up.labels, RECIPE)
    trees = model.trees_to_dataframe()
    where = leaves(model, made_up.matrix)
    ends = trees[trees["Feature"] == "Leaf"]
    for tree in range(6):
        known = set(ends[ends["Tree"] == tree]["Node"])
        assert set(where[:, tree].tolist()) <= known
        assert len(set(where[:, tree].tolist())) > 1


def test_one_tree_and_no_rows_still_give_a_table(made_up):
    model = fit(made_up.matrix, made_up.labels, RECIPE | {"n_estimators": 1})
    assert leaves(model, made_up.matrix[:3]).shape == (3, 1)
    assert leaves(model, made_up.matrix[:0]).shape == (0, 1)


def test_numbers_of_a_deep_tree_are_not_cut_off():
    """Kept out: leaf 257 taken for leaf 1."""
    draw = np.random.default_rng(0)
    matrix = draw.random((2000, 3)).astype(np.float32)
    labels = (draw.random(2000) < 0.5).astype(int)
    deep = {"max_depth": 12, "learning_rate": 1, "n_estimators": 1, "min_child_weight": 0}
    model = fit(matrix, labels, deep)
    where = leaves(model, matrix)
    expected = model.predict(xgb.DMatrix(matrix), pred_leaf=True)
    assert expected.max() > 256
    np.testing.assert_array_equal(where[:, 0], expected.ravel())


LEAVES = arrays.arrays(
    np.uint8, st.tuples(st.integers(0, 6), st.just(4)), elements=st.integers(0, 2)
)


@given(one=LEAVES, other=LEAVES)
def test_proximity_is_the_share_of_trees_that_treat_two_rows_alike(one, other):
    found = proximity(one, other)
    assert found.shape == (len(one), len(other))
    for at, row in enumerate(one):
        for to, theirs in enumerate(other):
            assert found[at, to] == pytest.approx((row == theirs).mean())
    assert (np.diag(proximity(one, one)) == 1).all()


def test_models_without_a_tree_find_nothing_alike():
    assert proximity(np.zeros((2, 0)), np.zeros((3, 0))).tolist() == [[0] * 3] * 2


# -- the nearest


def expected(titles, labelled, models_of, bundle) -> np.ndarray:
    """Nearness by hand: the mean over a title's models, -1 for itself."""
    asked, among = bundle.encoding.matrix(titles), bundle.encoding.matrix(labelled)
    alike = np.zeros((len(asked), len(among)))
    for row in range(len(asked)):
        models = models_of(row)
        for model in models:
            ours = model.predict(xgb.DMatrix(asked[row : row + 1]), pred_leaf=True)
            theirs = model.predict(xgb.DMatrix(among), pred_leaf=True)
            alike[row] += (ours == theirs).mean(axis=1) / len(models)
    own = np.array(titles["key"].to_pylist())[:, None] == np.array(labelled["key"].to_pylist())
    alike[own] = -1
    return alike


def check(rows, shares, alike) -> None:
    """The nearest first, no nearer one left out."""
    for found, share, near in zip(rows, shares, alike, strict=True):
        np.testing.assert_allclose(near[found], share, atol=1e-6)
        assert (np.diff(share) <= 0).all()
        assert np.sort(near)[-len(found)] == pytest.approx(share[-1], abs=1e-6)


def test_a_labelled_title_is_asked_of_the_five_models_that_did_not_see_it(labelled, bundle):
    fresh = replace(bundle, asked=[])
    titles = labelled.slice(10, 4)
    folds = [[bundle.learned_from[f"seed{s}"][10 + n].as_py() for s in range(5)] for n in range(4)]
    rows, shares = nearest(titles, labelled, fresh, 5)
    assert set(fresh.asked) == {(s, f[s]) for f in folds for s in range(5)}
    blind = [[bundle.fold_models[s][f[s]] for s in range(5)] for f in folds]
    check(rows, shares, expected(titles, labelled, lambda row: blind[row], bundle))


def test_an_unlabelled_title_is_asked_of_the_champion_alone(unlabelled, labelled, bundle):
    fresh = replace(bundle, asked=[])
    titles = unlabelled.slice(0, 5)
    rows, shares = nearest(titles, labelled, fresh, 4)
    assert fresh.asked == []
    check(rows, shares, expected(titles, labelled, lambda _: [bundle.model], bundle))


def test_labelled_and_unlabelled_titles_together_find_what_they_find_apart(
    unlabelled, labelled, bundle
):
    both = pa.concat_tables([unlabelled.slice(0, 3), labelled.slice(0, 3), unlabelled.slice(3, 2)])
    rows, shares = nearest(both, labelled, bundle, 3)
    for at in range(both.num_rows):
        alone, share = nearest(both.slice(at, 1), labelled, bundle, 3)
        assert rows[at].tolist() == alone[0].tolist()
        assert shares[at].tolist() == share[0].tolist()


def test_a_title_is_never_its_own_neighbour(labelled, bundle):
    number = labelled.num_rows - 1
    rows, shares = nearest(labelled, labelled, bundle, number)
    for at, found in enumerate(rows):
        assert at not in found
        assert len(set(found.tolist())) == number
    assert (shares >= 0).all()


def test_a_title_is_not_its_own_neighbour_in_another_place_of_the_table(labelled, bundle):
    turned = labelled.take(list(range(labelled.num_rows))[::-1])
    rows, _ = nearest(labelled.slice(0, 20), turned, bundle, 3)
    keys = turned["key"].to_pylist()
    for key, found in zip(labelled["key"].to_pylist()[:20], rows, strict=True):
        assert key not in [keys[at] for at in found]


def test_equals_come_in_the_rows_order(labelled, bundle):
    """Five titles like one of the labelled, under keys of their own."""
    film = labelled.slice(0, 1)
    twins = [
        film.set_column(film.column_names.index("key"), "key", pa.array([f"tt99{n:05}"]))
        for n in range(5)
    ]
    labelled = pa.concat_tables([labelled.slice(50, 30), *twins, labelled.slice(80, 30)])
    rows, shares = nearest(film, labelled, bundle, 5)
    assert rows[0].tolist() == [30, 31, 32, 33, 34]
    assert shares[0].tolist() == pytest.approx([1] * 5)


def test_there_are_fewer_where_fewer_are_labelled(labelled, unlabelled, bundle):
    rows, shares = nearest(labelled.slice(0, 3), labelled.slice(0, 3), bundle, 5)
    assert rows.shape == shares.shape == (3, 2)
    assert nearest(unlabelled, labelled.slice(0, 0), bundle, 3)[0].shape == (unlabelled.num_rows, 0)


def test_no_titles_have_no_neighbours(labelled, bundle):
    rows, shares = nearest(labelled.slice(0, 0), labelled, bundle, 3)
    assert rows.shape == shares.shape == (0, 3)


def test_of_too_many_labelled_titles_evenly_spaced_ones_are_looked_through(
    labelled, unlabelled, bundle, monkeypatch
):
    every = nearest(unlabelled, labelled.take(list(range(0, labelled.num_rows, 3))), bundle, 4)
    monkeypatch.setattr(neighbours, "MOST", -(-labelled.num_rows // 3))
    rows, shares = nearest(unlabelled, labelled, bundle, 4)
    np.testing.assert_array_equal(rows, every[0] * 3)
    np.testing.assert_array_equal(shares, every[1])


def test_a_title_is_not_its_own_neighbour_among_the_evenly_spaced_either(
    labelled, bundle, monkeypatch
):
    monkeypatch.setattr(neighbours, "MOST", 100)
    rows, _ = nearest(labelled, labelled, bundle, 10)
    assert not (rows == np.arange(labelled.num_rows)[:, None]).any()
    assert rows.max() < labelled.num_rows


def test_as_many_as_are_looked_through_are_not_thinned_out(
    labelled, unlabelled, bundle, monkeypatch
):
    before = nearest(unlabelled, labelled, bundle, 3)[0]
    monkeypatch.setattr(neighbours, "MOST", labelled.num_rows)
    np.testing.assert_array_equal(nearest(unlabelled, labelled, bundle, 3)[0], before)


def test_titles_compared_in_small_parts_find_the_same(labelled, unlabelled, bundle, monkeypatch):
    titles = pa.concat_tables([labelled.slice(0, 20), unlabelled.slice(0, 13)])
    before = nearest(titles, labelled, bundle, 3)
    monkeypatch.setattr(neighbours, "_AT_ONCE", 7)
    for one, other in zip(nearest(titles, labelled, bundle, 3), before, strict=True):
        np.testing.assert_array_equal(one, other)


# -- XGBoost's threads


def test_small_questions_wake_no_threads_of_xgboost(made_up, bundle, monkeypatch):
    """Kept out: threads that spin while they wait for each other, six times the work of a list."""
    before, threads = xgb.get_config()["nthread"], []
    assert before != 1
    asked = xgb.Booster.predict

    def counted(model, *given, **more):
        threads.append(xgb.get_config()["nthread"])
        return asked(model, *given, **more)

    monkeypatch.setattr(xgb.Booster, "predict", counted)
    nearest(made_up.titles.slice(0, 10), made_up.titles, bundle, 3)
    learned = reasons(made_up.titles.slice(0, 10), bundle)
    assert len(learned) == 10
    assert set(threads) == {1}
    # The whole library is asked about with all of them.
    assert xgb.get_config()["nthread"] == before

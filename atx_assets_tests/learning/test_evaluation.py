"""The folds, and answers that are blind to the labels they are measured on."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from atx_assets.errors import AtxError
from atx_assets.learning.evaluation import assign_folds, fold_rows, out_of_fold
from atx_assets.learning.folds import FOLDS, SEEDS, require_enough_labels
from atx_assets.learning.models import fit, predict
from atx_assets.learning.tuning import PLAIN


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["media", "training"])
def test_folds_are_those_of_the_protocol(protocol, real, layout):
    library = real(layout, companies=False)
    assert library.keys == sorted(library.keys)
    for seed, fold, _, held_out in protocol.make_folds(library.keys, library.labels):
        mine = np.flatnonzero(assign_folds(library.labels, seed) == fold)
        assert np.array_equal(mine, np.sort(held_out))


class TestFolds:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_each_row_is_held_out_once_and_keeps_are_spread_evenly(self, made_up, seed):
        fold = assign_folds(made_up.labels, seed)
        assert set(fold) == set(range(FOLDS))
        sizes = np.bincount(fold)
        keeps = np.bincount(fold, weights=made_up.labels)
        assert np.ptp(sizes) <= 1
        assert np.ptp(keeps) <= 1

    def test_another_seed_gives_other_folds_and_the_same_one_the_same(self, made_up):
        folds = [assign_folds(made_up.labels, seed) for seed in SEEDS]
        assert len({fold.tobytes() for fold in folds}) == len(SEEDS)
        assert np.array_equal(folds[2], assign_folds(made_up.labels, 2))

    @pytest.mark.parametrize("seed", [0, 3])
    def test_the_rows_of_the_folds_are_the_assignments(self, made_up, seed):
        folds = fold_rows(made_up.labels, seed)
        assignment = assign_folds(made_up.labels, seed)
        assert len(folds) == FOLDS
        for fold, rows in enumerate(folds):
            assert set(assignment[rows]) == {fold}
        assert sorted(np.concatenate(folds)) == list(range(len(made_up.labels)))


class TestBlindness:
    def test_a_label_that_can_be_memorised_does_not_help(self):
        # Each row has a column of its own: who has seen a row's label knows it for certain.
        draw = np.random.default_rng(3)
        labels = np.repeat([0, 1], 60)
        own = np.eye(120, dtype=np.float32)
        matrix = np.hstack([own, draw.random((120, 2), np.float32)])
        recipe = {"max_depth": 6, "learning_rate": 0.3, "n_estimators": 60}
        recipe |= {"min_child_weight": 0, "lambda": 0}
        memorised = predict(fit(matrix, labels, recipe), matrix)
        assert average_precision_score(labels, memorised) > 0.99
        blind = out_of_fold(matrix, labels, recipe)
        for probability in blind.probabilities:
            assert average_precision_score(labels, probability) < 0.7

    def test_a_row_with_the_wrong_label_is_told_by_the_others(self, made_up):
        recipe = PLAIN | {"n_estimators": 20}
        honest = out_of_fold(made_up.matrix, made_up.labels, recipe)
        sure = int(np.argmax(honest.probabilities.min(axis=0)))
        flipped = made_up.labels.copy()
        flipped[sure] = 1 - flipped[sure]
        answers = out_of_fold(made_up.matrix, flipped, recipe).probabilities[:, sure]
        assert made_up.labels[sure] == 1
        assert answers.min() > 0.5

    def test_each_probability_is_the_answer_of_the_model_of_its_fold(self, made_up):
        found = out_of_fold(made_up.matrix, made_up.labels, PLAIN | {"n_estimators": 5})
        assert found.probabilities.shape == found.assignment.shape == (5, len(made_up.labels))
        for seed in SEEDS:
            for fold in range(FOLDS):
                held_out = found.assignment[seed] == fold
                answer = predict(found.models[seed][fold], made_up.matrix[held_out])
                assert np.array_equal(found.probabilities[seed, held_out], answer)
                again = fit(
                    made_up.matrix[~held_out],
                    made_up.labels[~held_out],
                    PLAIN | {"n_estimators": 5},
                )
                assert again.save_raw("ubj") == found.models[seed][fold].save_raw("ubj")

    def test_some_seeds_alone_give_what_they_give_among_all(self, made_up):
        recipe = PLAIN | {"n_estimators": 5}
        every = out_of_fold(made_up.matrix, made_up.labels, recipe)
        some = out_of_fold(made_up.matrix, made_up.labels, recipe, seeds=(3, 1))
        assert some.probabilities.tobytes() == every.probabilities[[3, 1]].tobytes()
        assert np.array_equal(some.assignment, every.assignment[[3, 1]])
        assert [len(models) for models in some.models] == [FOLDS, FOLDS]
        wanted = every.models[1][4].save_raw("ubj")
        assert some.models[1][4].save_raw("ubj") == wanted


class TestTooFewLabels:
    @pytest.mark.parametrize(("keeps", "skips"), [(19, 500), (500, 19), (0, 50), (50, 0), (0, 0)])
    def test_the_line_says_how_many_there_are_and_are_needed(self, keeps, skips):
        labels = np.repeat([1, 0], [keeps, skips])
        with pytest.raises(AtxError) as failure:
            require_enough_labels(labels)
        line = str(failure.value)
        assert f"{keeps} keeps and {skips} skips" in line
        assert "at least 20 of each" in line
        assert "\n" not in line

    def test_twenty_of_each_are_enough(self):
        require_enough_labels(np.repeat([1, 0], 20))

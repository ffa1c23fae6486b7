"""The probabilities of films: by the champion, and by the models that did not see a label."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from atx_assets.learning import scoring
from atx_assets.learning.identity import names_and_years
from atx_assets.learning.models import predict
from atx_assets.learning.scoring import (
    blind_answers,
    blind_probabilities,
    held_out_models,
    in_sample,
)
from atx_assets.learning.thresholds import threshold_at
from atx_assets.operating_point import OperatingPoint


def stranger(films: pa.Table, key: str, name: str = "Stranger") -> pa.Table:
    """The first film under a key and a name that no bundle knows."""
    one = films.slice(0, 1)
    for column, value in (("key", key), ("media_title", name)):
        one = one.set_column(one.schema.get_field_index(column), column, pa.array([value]))
    return one


def blind_means(films: pa.Table, bundle: Any) -> np.ndarray:
    """The mean of the blind answers about each film, NaN where the bundle did not learn from it."""
    rows, answers = blind_answers(films, bundle)
    found = np.full(films.num_rows, np.nan)
    found[rows] = answers.mean(axis=0, dtype=float)
    return found


class TestInSample:
    def test_it_is_the_champions_answer_to_every_film(self, films, bundle):
        answers = in_sample(films, bundle)
        expected = predict(bundle.model, bundle.encoding.matrix(films))
        assert answers.dtype == np.float32
        assert np.array_equal(answers, expected)

    @pytest.mark.parametrize("batch", [1, 7, 299, 300, 301])
    def test_batches_of_any_size_give_the_same_bits(self, films, bundle, monkeypatch, batch):
        whole = in_sample(films, bundle)
        monkeypatch.setattr(scoring, "BATCH", batch)
        assert in_sample(films, bundle).tobytes() == whole.tobytes()

    def test_no_films_give_no_answers(self, films, bundle):
        assert in_sample(films.slice(0, 0), bundle).shape == (0,)


class TestOutOfFold:
    def test_it_is_the_mean_of_the_five_models_that_did_not_see_the_title(self, films, bundle):
        rows = np.flatnonzero(films["trains"].to_numpy())[::7]
        known, answers = blind_answers(films, bundle)
        assert set(rows) < set(known)
        probability = answers.mean(axis=0, dtype=float)[np.searchsorted(known, rows)]
        matrix = bundle.encoding.matrix(films)
        learned = bundle.learned_from.to_pylist()
        folds = {row["key"]: [row[f"seed{s}"] for s in range(5)] for row in learned}
        keys = films["key"].to_pylist()
        for at, row in enumerate(rows):
            answers = [
                float(predict(bundle.fold_models[seed][fold], matrix[row : row + 1])[0])
                for seed, fold in enumerate(folds[keys[row]])
            ]
            assert probability[at] == pytest.approx(np.mean(answers), abs=1e-15)

    def test_it_is_to_the_last_bit_the_mean_that_a_threshold_is_chosen_on(
        self, films, bundle, made_up
    ):
        # A mean in float32 put the threshold above the very title that it was taken from.
        rows = np.flatnonzero(films["trains"].to_numpy())
        probability = blind_means(films, bundle)[rows]
        answers = np.empty((5, len(rows)), np.float32)
        for seed in range(5):
            folds = bundle.learned_from[f"seed{seed}"].to_numpy()
            for fold in range(5):
                blind = predict(bundle.fold_models[seed][fold], made_up.matrix[folds == fold])
                answers[seed, folds == fold] = blind
        assert np.array_equal(probability, answers.mean(axis=0, dtype=float))
        mean = answers.mean(axis=0, dtype=float)
        threshold = threshold_at(OperatingPoint(), made_up.labels, mean)
        assert threshold in probability

    def test_it_is_not_the_champions_answer(self, films, bundle):
        rows = np.flatnonzero(films["trains"].to_numpy())
        probability = blind_means(films, bundle)[rows]
        assert np.abs(probability - in_sample(films, bundle)[rows]).max() > 0.1

    def test_a_title_is_known_by_its_key_wherever_it_stands(self, films, bundle):
        rows = np.flatnonzero(films["trains"].to_numpy())
        backwards = films.take(pa.array(np.arange(films.num_rows)[::-1]))
        before, after = blind_means(films, bundle), blind_means(backwards, bundle)[::-1]
        assert not np.isnan(before[rows]).any()
        assert np.array_equal(before, after, equal_nan=True)

    def test_titles_that_the_bundle_did_not_learn_from_are_said_to_be_unknown(self, films, bundle):
        unlabelled = np.flatnonzero(~films["trains"].to_numpy())
        assert len(unlabelled)
        assert np.isnan(blind_means(films, bundle)[unlabelled]).all()
        mixed = pa.concat_tables([stranger(films, "new|2025"), films])
        assert np.isnan(blind_means(mixed, bundle)[:3]).tolist() == [True, False, False]

    def test_a_title_under_another_key_is_still_asked_of_models_blind_to_it(self, films, bundle):
        """Kept out: a title whose id became known, asked of the champion that saw its label."""
        nameless = bundle.learned_from["named"][0].as_py()
        keys = pa.array([nameless, *bundle.learned_from["key"].to_pylist()[1:]])
        once = replace(bundle, learned_from=bundle.learned_from.set_column(0, "key", keys))
        _, before = blind_answers(films.slice(0, 1), bundle)
        rows, now = blind_answers(films.slice(0, 1), once)
        assert rows.tolist() == [0]
        assert np.array_equal(now, before)

    def test_a_namesake_with_an_imdb_id_of_its_own_is_another_title(self, films, bundle):
        """Kept out: an unlabelled film told by the models of a labelled one with its name."""
        namesake = stranger(films, "tt9999999", films["media_title"][0].as_py())
        assert blind_answers(namesake, bundle)[0].tolist() == []
        nameless = stranger(films, "a key of its own", films["media_title"][0].as_py())
        assert blind_answers(nameless, bundle)[0].tolist() == [0]

    def test_a_title_whose_name_is_spelled_otherwise_is_asked_of_the_same_models(
        self, films, bundle
    ):
        """Kept out: the champion that saw a label, asked of its film for a zero-width character."""
        spelled = f"\ufeff{films['media_title'][0].as_py().upper()}\u00a0"
        rows, now = blind_answers(stranger(films, "a key of its own", spelled), bundle)
        assert rows.tolist() == [0]
        assert np.array_equal(now[:, 0], blind_answers(films.slice(0, 1), bundle)[1][:, 0])

    def test_a_name_that_two_titles_have_finds_neither(self, films, bundle):
        new = stranger(films, "new|2025", "Twins")
        names = pa.array(names_and_years(new).to_pylist() * bundle.learned_from.num_rows)
        twins = replace(bundle, learned_from=bundle.learned_from.set_column(1, "named", names))
        assert blind_answers(new, twins)[0].tolist() == []

    def test_no_rows_give_no_answers(self, films, bundle):
        rows, answers = blind_answers(films.slice(0, 0), bundle)
        assert rows.shape == (0,)
        assert answers.shape == (5, 0)


class TestBlindProbabilities:
    def test_a_title_learned_from_is_told_by_models_blind_to_it_and_others_by_the_champion(
        self, films, bundle
    ):
        trains = films["trains"].to_numpy()
        found = blind_probabilities(films, bundle)
        blind = blind_answers(films, bundle)[1].mean(axis=0, dtype=float)
        assert found.dtype == np.float64
        assert np.array_equal(found[trains], blind)
        assert np.array_equal(found[~trains], in_sample(films, bundle)[~trains])
        assert (~trains).sum() >= 50

    def test_in_another_order_each_title_has_the_same_probability(self, films, bundle):
        order = np.random.default_rng(2).permutation(films.num_rows)
        shuffled = blind_probabilities(films.take(pa.array(order)), bundle)
        assert np.array_equal(shuffled, blind_probabilities(films, bundle)[order])

    def test_no_films_give_no_answers(self, films, bundle):
        assert blind_probabilities(films.slice(0, 0), bundle).shape == (0,)


class TestHeldOutModels:
    def test_each_known_title_comes_once_a_seed(self, films, bundle):
        bundle.asked.clear()
        times = np.zeros(films.num_rows, int)
        for _, at, _ in held_out_models(films, bundle):
            times[at] += 1
        trains = films["trains"].to_numpy()
        assert set(times[trains]) == {5}
        assert set(times[~trains]) == {0}
        assert sorted(bundle.asked) == [(s, f) for s in range(5) for f in range(5)]

    def test_only_the_models_that_are_needed_are_read(self, films, bundle):
        bundle.asked.clear()
        list(held_out_models(films.slice(3, 1), bundle))
        assert [seed for seed, _ in bundle.asked] == [0, 1, 2, 3, 4]

    def test_the_model_of_a_fold_was_fitted_without_the_title(self, films, bundle, made_up):
        learned = bundle.learned_from
        for _, at, _ in held_out_models(films, bundle):
            seed, fold = bundle.asked[-1]
            keys = films["key"].take(pa.array(at))
            theirs = learned.filter(pc.is_in(learned["key"], keys))[f"seed{seed}"]
            assert set(theirs.to_pylist()) == {fold}

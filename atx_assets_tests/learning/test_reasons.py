"""Why a title got its probability: sums that are right, and words that a person can read."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb

from atx_assets.learning import reasons as module
from atx_assets.learning.features import FeatureEncoding
from atx_assets.learning.models import fit
from atx_assets.learning.reasons import STRONGEST, contributions_of, reasons
from atx_assets.learning.scoring import blind_answers, in_sample


@dataclass(frozen=True)
class Judge:
    """A bundle that knows no title's label: its one model is asked of all."""

    encoding: FeatureEncoding
    model: xgb.Booster

    @property
    def learned_from(self) -> pa.Table:
        folds = {f"seed{seed}": pa.array([], pa.int8()) for seed in range(5)}
        nothing = pa.array([], pa.string())
        return pa.table({"key": nothing, "named": nothing} | folds)


@pytest.fixture(scope="session")
def hand_made(table, encoding_of):
    """Titles whose keeping one column decides, and reasons for others by the model of it."""

    def judged(column, keep, skip, asked, layout="media"):
        values = [keep, skip] * 40
        training = table(layout, **{column: values})
        encoding = encoding_of(training, layout)
        recipe = {"max_depth": 1, "learning_rate": 0.3, "n_estimators": 20}
        model = fit(encoding.matrix(training), np.tile([1, 0], 40), recipe)
        titles = table(
            layout, key=["new"] * len(asked), trains=[False] * len(asked), **{column: asked}
        )
        return [r[0] if r else None for r in reasons(titles, Judge(encoding, model))]

    return judged


class TestWords:
    @pytest.mark.parametrize(
        ("column", "keep", "skip", "words"),
        [
            ("metascore", 88, 20, "Metascore 88: +"),
            ("rt_score", 91, 20, "Rotten Tomatoes 91: +"),
            ("release_year", 1994, 1950, "release year 1994: +"),
            ("imdb_rating", 8.1, 4.0, "IMDb rating 81: +"),
            ("imdb_votes", 1_234_567, 20, "IMDb votes 1,234,567: +"),
            ("genre", ["Sci-Fi"], ["War"], "genre Sci-Fi: +"),
            ("language", ["English"], ["French"], "language English: +"),
        ],
    )
    def test_a_reason_names_the_feature_as_a_person_does_and_its_value(
        self, hand_made, column, keep, skip, words
    ):
        kept, skipped = hand_made(column, keep, skip, [keep, skip])
        assert kept.startswith(words)
        assert skipped.split(": ")[1].startswith("-")

    def test_unknown_is_said_as_unknown(self, hand_made):
        [reason] = hand_made("metascore", None, 20, [None])
        assert reason.startswith("Metascore unknown: +")

    def test_zero_votes_are_said_as_unknown(self, hand_made):
        [reason] = hand_made("imdb_votes", 0, 20, [0])
        assert reason.startswith("IMDb votes unknown: +")

    def test_what_a_title_has_not_is_said_with_not(self, hand_made):
        [reason] = hand_made("genre", [], ["War"], [[]])
        assert reason.startswith("genre not War: +")

    def test_a_single_category_of_the_training_layout_is_named(self, hand_made):
        kept, skipped = hand_made("original_language", "en", "fr", ["en", "fr"], "training")
        assert kept.startswith("original language en: +")
        assert skipped.startswith("original language not en: -")

    def test_the_number_is_the_contribution_with_its_sign_and_one_digit(self, films, bundle):
        unlabelled = films.slice(260)
        found = contributions_of(bundle.model, bundle.encoding.matrix(unlabelled))[:, :-1]
        for title, row in zip(reasons(unlabelled, bundle), found, strict=True):
            strongest = row[np.argsort(-np.abs(row), kind="stable")[: len(title)]]
            assert [r.rsplit(": ", 1)[1] for r in title] == [f"{v:+.1f}" for v in strongest]


class TestContributions:
    def test_they_sum_to_the_margin(self, films, bundle):
        matrix = bundle.encoding.matrix(films)
        found = contributions_of(bundle.model, matrix)
        margin = bundle.model.predict(xgb.DMatrix(matrix, missing=np.nan), output_margin=True)
        assert found.shape == (films.num_rows, matrix.shape[1] + 1)
        np.testing.assert_allclose(found.sum(axis=1), margin, rtol=0, atol=1e-4)
        chance = 1 / (1 + np.exp(-found.sum(axis=1)))
        np.testing.assert_allclose(chance, in_sample(films, bundle), rtol=0, atol=1e-4)

    def test_no_titles_have_no_contributions(self, films, bundle):
        assert len(contributions_of(bundle.model, bundle.encoding.matrix(films.slice(0, 0)))) == 0
        assert reasons(films.slice(0, 0), bundle) == []


class TestWhoIsAsked:
    def test_a_labelled_title_is_explained_by_the_models_that_did_not_see_its_label(
        self, films, bundle, monkeypatch
    ):
        explained = []
        monkeypatch.setattr(module, "_in_words", lambda row, *_: explained.append(row) or [])
        module.reasons(films, bundle)
        sums = np.array([row.sum() for row in explained])
        matrix = bundle.encoding.matrix(films)
        champion = contributions_of(bundle.model, matrix)
        trains = films["trains"].to_numpy()
        np.testing.assert_allclose(sums[~trains], champion[~trains, :-1].sum(axis=1), atol=1e-6)
        assert np.abs(sums[trains] - champion[trains, :-1].sum(axis=1)).max() > 0.1
        learned = bundle.learned_from.to_pylist()
        for at in np.flatnonzero(trains)[::41]:
            blind = [
                contributions_of(
                    bundle.fold_models[s][learned[at][f"seed{s}"]], matrix[at : at + 1]
                )
                for s in range(5)
            ]
            assert sums[at] == pytest.approx(np.mean(blind, axis=0)[0, :-1].sum(), abs=1e-6)

    def test_a_title_labelled_since_is_explained_by_the_champion(self, films, bundle):
        last = films.slice(films.num_rows - 1)
        labelled = last.set_column(
            last.schema.get_field_index("trains"), "trains", pa.array([True])
        )
        assert reasons(labelled, bundle) == reasons(last, bundle)
        assert blind_answers(labelled, bundle)[0].tolist() == []

    def test_at_most_three_reasons_come_the_strongest_first(self, films, bundle):
        found = reasons(films, bundle)
        assert len(found) == films.num_rows
        assert max(map(len, found)) == STRONGEST == 3
        for title in found:
            numbers = [abs(float(reason.rsplit(": ", 1)[1])) for reason in title]
            assert numbers == sorted(numbers, reverse=True)
            assert 0.0 not in numbers

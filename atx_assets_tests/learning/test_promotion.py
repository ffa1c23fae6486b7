"""Whether a new model takes the champion's place: the guards, the comparison, every path."""

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atx_assets.learning import contenders
from atx_assets.learning.evaluation import out_of_fold
from atx_assets.learning.promotion import (
    CALIBRATION,
    LEVEL,
    Comparison,
    compare,
    decide,
    failed_guards,
)
from atx_assets.learning.tuning import PLAIN
from atx_assets.operating_point import OperatingPoint

NAN = float("nan")
SOUND: dict[str, Any] = {
    "model": {
        "all": {
            "pr_auc": {"mean": 0.9, "std": 0.02},
            "roc_auc": {"mean": 0.97, "std": 0.01},
            "log_loss": {"mean": 0.2, "std": 0.01},
        }
    },
    "rule": {"all": {"pr_auc": {"mean": 0.7, "std": 0.05}}},
    "calibration": {"error": {"mean": 0.03, "std": 0.01}},
}


def quality(*, pr_auc=0.9, rule=0.7, calibration=0.03, **measures) -> dict[str, Any]:
    """A sound model's record, changed."""
    record = deepcopy(SOUND)
    record["model"]["all"]["pr_auc"]["mean"] = pr_auc
    record["rule"]["all"]["pr_auc"]["mean"] = rule
    record["calibration"]["error"]["mean"] = calibration
    record["model"]["all"] |= {name: {"mean": mean, "std": None} for name, mean in measures.items()}
    return record


FAILING = quality(calibration=0.3)
#: None of the comparisons below stands at the limit.
WORSE, NOT_WORSE = Comparison(-0.05, 0.001), Comparison(-0.002, 0.4)


class TestGuards:
    def test_a_sound_model_passes_them_all(self):
        assert failed_guards(SOUND) == []

    @pytest.mark.parametrize("rule", [0.9, 0.95])
    def test_a_model_that_is_not_above_the_rule_fails(self, rule):
        (said,) = failed_guards(quality(rule=rule))
        assert said == (
            f"PR-AUC 0.900 is not above that of the best single-feature rule, {rule:.3f}"
        )

    def test_a_model_just_above_the_rule_passes(self):
        assert failed_guards(quality(rule=math.nextafter(0.9, 0))) == []

    @pytest.mark.parametrize(
        "error",
        [
            CALIBRATION,
            0.4,
            NAN,
        ],
    )
    def test_a_calibration_error_that_is_not_under_the_limit_fails(self, error):
        (said,) = failed_guards(quality(calibration=error))
        assert "calibration error" in said
        assert "is not below 0.1" in said

    def test_a_calibration_error_just_under_the_limit_passes(self):
        assert failed_guards(quality(calibration=math.nextafter(CALIBRATION, 0))) == []

    def test_an_unknown_calibration_error_fails(self):
        assert failed_guards(quality(calibration=None)) == [
            "calibration error unknown is not below 0.1"
        ]

    @pytest.mark.parametrize("value", [None, NAN, math.inf])
    def test_measures_that_are_no_numbers_are_named(self, value):
        assert failed_guards(quality(log_loss=value, brier=value)) == [
            "brier, log_loss cannot be measured"
        ]
        assert failed_guards(quality(pr_auc=value)) == ["pr_auc cannot be measured"]

    def test_each_failed_guard_is_said(self):
        assert len(failed_guards(quality(rule=0.95, calibration=0.2))) == 2


class TestCompare:
    @pytest.mark.parametrize("seed", range(6))
    def test_p_is_half_of_the_protocols_or_the_rest_of_it(self, protocol, seed):
        draw = np.random.default_rng(seed)
        new = draw.normal(0.9, 0.02, 25)
        champion = new + draw.normal(0.01 * (seed - 2), 0.02, 25)
        where = {"repeat": np.repeat(range(5), 5), "fold": np.tile(range(5), 5)}
        theirs = [{"per_fold": pd.DataFrame(where | {"ap": values})} for values in (new, champion)]
        difference, two_sided, _, folds = protocol.compare(*theirs, "ap")
        ours = compare(new, champion)
        assert folds == 25
        assert ours.difference == pytest.approx(difference, abs=1e-12)
        half = two_sided / 2
        expected = half if difference < 0 else 1 - half
        assert ours.p_worse == pytest.approx(expected, abs=1e-12)

    @pytest.mark.real_data
    @pytest.mark.slow
    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_on_a_real_library_it_is_the_protocols_too(self, protocol, measured, layout):
        plain = measured(layout)
        library = plain.library
        small = out_of_fold(library.matrix, library.labels, PLAIN | {"n_estimators": 10})
        folds = protocol.make_folds(library.keys, library.labels)
        theirs = [
            protocol.score_oof(held_out.probabilities.astype(float), library.labels, folds)
            for held_out in (small, plain.held_out)
        ]
        difference, two_sided, *_ = protocol.compare(*theirs, "ap")
        answers = contenders.model(library.labels, small).by_fold(OperatingPoint())
        ours = compare(answers["pr_auc"], plain.by_fold["pr_auc"])
        assert ours.difference == pytest.approx(difference, abs=1e-9)
        assert difference < 0
        assert ours.p_worse == pytest.approx(two_sided / 2, abs=1e-9)

    def test_new_and_champion_are_not_mistaken_for_each_other(self):
        low, high = np.full(25, 0.8), np.full(25, 0.9) + np.linspace(-0.01, 0.01, 25)
        assert compare(low, high).worse
        assert not compare(high, low).worse
        assert compare(low, high).difference == pytest.approx(-0.1)
        assert compare(low, high).p_worse == pytest.approx(1 - compare(high, low).p_worse)

    def test_one_recipe_against_itself_is_not_worse(self):
        values = np.linspace(0.8, 0.9, 25)
        assert compare(values, values) == Comparison(0.0, 1.0)
        assert not compare(values, values).worse

    def test_worse_by_the_same_everywhere_is_worse(self):
        values = np.linspace(0.5, 0.75, 25)
        assert compare(np.full(25, 0.5), np.full(25, 0.75)) == Comparison(-0.25, 0.0)
        assert compare(values - 0.25, values).worse
        assert not compare(values + 0.25, values).worse

    def test_folds_that_share_rows_prove_less_than_fresh_ones_would(self):
        # A plain paired t-test has p = .0003 for the same differences.
        differences = np.tile([-0.03, 0.005, -0.015, 0.012, -0.022], 5)
        assert differences.mean() / (differences.std(ddof=1) / 5) < -2.5
        found = compare(differences, np.zeros(25))
        assert not found.worse
        assert found.p_worse > 0.1

    def test_what_cannot_be_measured_counts_as_worse(self):
        assert compare([0.9, NAN, 0.8], [0.7, 0.7, 0.7]).worse

    def test_at_the_level_it_is_not_worse(self):
        assert not Comparison(-0.01, LEVEL).worse
        assert Comparison(-0.01, math.nextafter(LEVEL, 0)).worse
        assert Comparison(NAN, NAN).worse


def against(new=SOUND, champion=SOUND, comparison=NOT_WORSE, **how):
    return decide(new, champion=7, champion_quality=champion, comparison=comparison, **how)


class TestDecide:
    def test_the_first_model_is_promoted(self):
        found = decide(SOUND)
        assert (found.promoted, found.warning) == (True, "")
        assert found.reason == "the first model for these films"

    def test_the_first_model_is_promoted_with_a_warning_where_a_guard_fails(self):
        found = decide(FAILING)
        assert found.promoted
        assert found.warning == "a guard fails: calibration error 0.300 is not below 0.1"

    def test_what_is_not_worse_is_promoted(self):
        found = against()
        assert (found.promoted, found.warning) == (True, "")
        assert found.reason == (
            "not worse; PR-AUC -0.0020 against version 7 in the same folds (p of being worse 0.40)"
        )

    def test_what_is_worse_is_not(self):
        found = against(comparison=WORSE)
        assert not found.promoted
        assert found.reason.startswith("worse; PR-AUC -0.0500 against version 7")

    def test_where_the_labels_changed_even_a_worse_recipe_is_promoted(self):
        found = against(comparison=WORSE, labels_changed=True)
        assert (found.promoted, found.warning) == (True, "")
        assert found.reason.startswith("the labels changed and all guards pass; PR-AUC -0.0500")

    @pytest.mark.parametrize("labels_changed", [True, False])
    @pytest.mark.parametrize("comparison", [WORSE, NOT_WORSE])
    def test_a_failing_guard_keeps_it_from_a_sound_champions_place(
        self, labels_changed, comparison
    ):
        found = against(FAILING, comparison=comparison, labels_changed=labels_changed)
        assert not found.promoted
        assert found.reason.startswith("a guard fails: calibration error 0.300")
        assert "version 7" in found.reason

    @pytest.mark.parametrize("labels_changed", [True, False])
    def test_a_champion_that_fails_too_keeps_out_only_what_is_worse(self, labels_changed):
        found = against(FAILING, FAILING, labels_changed=labels_changed)
        assert found.promoted
        assert found.reason.startswith("not worse")
        assert found.warning.startswith("a guard fails: calibration error")
        assert not against(FAILING, FAILING, WORSE, labels_changed=labels_changed).promoted

    def test_a_sound_model_worse_than_a_failing_champion_is_not_promoted(self):
        assert not against(SOUND, FAILING, WORSE).promoted
        assert against(SOUND, FAILING, NOT_WORSE).promoted

    @pytest.mark.parametrize("champion", [SOUND, FAILING])
    @pytest.mark.parametrize("labels_changed", [True, False])
    def test_what_a_person_took_down_stays_down(self, champion, labels_changed):
        found = against(SOUND, champion, labels_changed=labels_changed, declined=True)
        assert not found.promoted
        assert found.reason.startswith(
            "a person put version 7 in its place; no label is newer; PR-AUC -0.0020"
        )

    @pytest.mark.parametrize("labels_changed", [True, False])
    @pytest.mark.parametrize("measure", ["pr_auc", "roc_auc", "log_loss"])
    @pytest.mark.parametrize("value", [None, NAN])
    def test_what_cannot_be_measured_never_replaces_a_sound_champion(
        self, labels_changed, measure, value
    ):
        found = against(quality(**{measure: value}), labels_changed=labels_changed)
        assert not found.promoted
        assert f"{measure} cannot be measured" in found.reason

    @pytest.mark.parametrize("unknown", ["calibration", "rule"])
    def test_what_a_guard_cannot_be_told_never_replaces_a_sound_champion(self, unknown):
        assert not against(quality(**{unknown: NAN}), labels_changed=True).promoted

    def test_a_comparison_that_cannot_be_made_promotes_nothing(self):
        unknown = Comparison(NAN, NAN)
        assert not against(comparison=unknown).promoted
        assert not against(FAILING, FAILING, unknown, labels_changed=True).promoted

    @pytest.mark.parametrize("given", ["champion", "champion_quality", "comparison"])
    def test_a_champion_that_is_not_fully_known_is_none(self, given):
        known = {"champion": 7, "champion_quality": SOUND, "comparison": WORSE}
        assert decide(SOUND, **known | {given: None}).promoted


# -- laws, of any measures

FOLDS = st.lists(
    st.tuples(*[st.sampled_from([0.5, 0.8, 0.81, 0.9]) | st.floats(0, 1)] * 2),
    min_size=2,
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(folds=FOLDS)
def test_one_of_two_recipes_at_most_is_worse_and_the_better_never(folds):
    new, champion = zip(*folds, strict=True)
    there, back = compare(new, champion), compare(champion, new)
    assert 0 <= there.p_worse <= 1
    assert there.difference == pytest.approx(-back.difference, abs=1e-12)
    assert not (there.worse and back.worse)
    if there.difference >= 0:
        assert not there.worse
    assert not compare(new, new).worse


@settings(max_examples=200, deadline=None)
@given(folds=FOLDS, better=st.floats(0, 0.5))
def test_a_recipe_that_is_better_in_every_fold_is_no_likelier_to_be_worse(folds, better):
    new, champion = map(np.array, zip(*folds, strict=True))
    more = compare((new + better).tolist(), champion.tolist())
    assert more.p_worse >= compare(new.tolist(), champion.tolist()).p_worse - 1e-6


NUMBER = st.none() | st.floats()


@settings(max_examples=200, deadline=None)
@given(
    measures=st.tuples(NUMBER, NUMBER, NUMBER),
    champions=st.tuples(NUMBER, NUMBER, NUMBER),
    comparison=st.none() | st.builds(Comparison, st.floats(), st.floats()),
    changed=st.booleans(),
    declined=st.booleans(),
)
def test_whatever_was_measured_there_is_a_decision_with_a_reason(
    measures, champions, comparison, changed, declined
):
    new, old = (
        quality(pr_auc=pr_auc, rule=rule, calibration=error)
        for pr_auc, rule, error in (measures, champions)
    )
    decision = decide(
        new,
        champion=1,
        champion_quality=old,
        comparison=comparison,
        labels_changed=changed,
        declined=declined,
    )
    assert decision.reason.isprintable()
    if declined:
        assert not decision.promoted
    if failed_guards(new) and not failed_guards(old):
        assert not decision.promoted
    if decision.promoted and not changed:
        assert comparison is None or not comparison.worse

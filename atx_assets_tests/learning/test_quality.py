"""The record of how good a model is: its slices, what stands beside it, and that JSON holds it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from atx_assets.learning import contenders
from atx_assets.learning.contenders import single_feature_rule
from atx_assets.learning.evaluation import OutOfFold, out_of_fold
from atx_assets.learning.folds import LEAST_LABELS
from atx_assets.learning.measures import calibration_error
from atx_assets.learning.models import fit, predict
from atx_assets.learning.promotion import failed_guards
from atx_assets.learning.quality import Evidence, measure_quality, measure_recipe, newest_rows
from atx_assets.learning.thresholds import threshold_at
from atx_assets.learning.tuning import PLAIN
from atx_assets.operating_point import ALTERNATIVES, OperatingPoint

DAY = 86_400 * 1e6
RECIPE = PLAIN | {"n_estimators": 10}


def half(count: int) -> np.ndarray:
    return np.arange(count) % 2


class TestNewestRows:
    def test_of_spread_times_the_newest_fifth_is_found_whatever_the_order(self):
        order = np.random.default_rng(0).permutation(300)
        newest = newest_rows(order * DAY, half(300))
        assert newest is not None
        assert np.array_equal(newest, order >= 240)

    def test_a_table_filled_at_once_has_no_newest(self):
        assert newest_rows(np.full(300, 5 * DAY), half(300)) is None

    def test_one_unknown_time_and_there_are_no_newest(self):
        created = np.arange(300) * DAY
        created[17] = np.nan
        assert newest_rows(created, half(300)) is None

    @pytest.mark.parametrize(("first", "last"), [(150, 270), (30, 285)])
    def test_a_big_batch_around_the_cut_cannot_be_cut_off(self, first, last):
        created = np.arange(300) * DAY
        created[first:last] = created[first]
        assert newest_rows(created, half(300)) is None
        # The same batch elsewhere does no harm.
        created = np.arange(300) * DAY
        created[:200] = 0
        assert newest_rows(created, half(300)) is not None

    @pytest.mark.parametrize(
        ("together", "found"), [(200, True), (201, True), (399, True), (401, False), (900, False)]
    )
    def test_what_came_with_the_cut_is_among_them_up_to_twice_a_fifth(self, together, found):
        created = np.arange(1000) * DAY
        created[-together:] = created[-together]
        newest = newest_rows(created, half(1000))
        assert (newest is not None) == found
        if newest is not None:
            assert np.array_equal(np.flatnonzero(newest), np.arange(1000 - together, 1000))

    @pytest.mark.parametrize("wanting", [0, 1])
    @pytest.mark.parametrize("newest", [True, False])
    def test_each_part_needs_enough_of_each_class(self, wanting, newest):
        created = np.arange(1000) * DAY
        labels = half(1000)
        part = np.flatnonzero((created >= 800 * DAY) == newest)
        labels[part] = 1 - wanting
        labels[part[:LEAST_LABELS]] = wanting
        assert newest_rows(created, labels) is not None
        labels[part[0]] = 1 - wanting
        assert newest_rows(created, labels) is None


@pytest.fixture(scope="module")
def evidence(made_up) -> Evidence:
    """Made-up films with a number that tells much; rules made keeps alone."""
    count = len(made_up.labels)
    score = made_up.labels + np.random.default_rng(2).normal(0, 0.6, count)
    by_person = (np.arange(count) % 3 == 0) | (made_up.labels == 0)
    order = np.random.default_rng(1).permutation(count)
    return Evidence(
        matrix=np.column_stack([score, made_up.matrix]).astype(np.float32),
        labels=made_up.labels,
        names=["score_norm", *made_up.encoding.names],
        # The rule is sought among these alone, which is what takes the time.
        numeric=2,
        sources=np.where(by_person, "human", "rule").astype(object),
        created=order * DAY,
        point=OperatingPoint(),
    )


@pytest.fixture(scope="module")
def held_out(evidence) -> OutOfFold:
    return out_of_fold(evidence.matrix, evidence.labels, RECIPE)


@pytest.fixture(scope="module")
def measured(evidence, held_out) -> tuple[dict[str, Any], list[float]]:
    return measure_quality(evidence, RECIPE, held_out, {"labels": 3})


class TestRecord:
    def test_json_can_hold_it(self, measured):
        record, _ = measured
        assert json.loads(json.dumps(record, allow_nan=False)) == record

    def test_without_times_json_can_hold_it_and_there_are_no_newest(self, evidence, held_out):
        timeless = replace(evidence, created=np.full(len(evidence.labels), np.nan))
        record, _ = measure_quality(timeless, RECIPE, held_out, {})
        json.dumps(record, allow_nan=False)
        assert list(record["slices"]) == ["all", "human", "rule"]
        for contender in ("model", "always_skip", "rule"):
            assert list(record[contender]) == ["all", "human", "rule"]

    def test_each_slice_says_how_many_titles_and_keeps_it_has(self, evidence, measured):
        record, _ = measured
        labels, human = evidence.labels, evidence.sources == "human"
        newest = newest_rows(evidence.created, labels)
        since = datetime.fromtimestamp(evidence.created[newest].min() / 1e6, UTC)
        assert record["slices"] == {
            "all": {"titles": len(labels), "keeps": labels.sum()},
            "human": {"titles": human.sum(), "keeps": labels[human].sum()},
            "rule": {"titles": (~human).sum(), "keeps": (~human).sum()},
            "newest": {
                "titles": newest.sum(),
                "keeps": labels[newest].sum(),
                "since": since.date().isoformat(),
            },
        }

    def test_a_slice_nobody_is_in_is_left_out(self, evidence, held_out):
        people = replace(evidence, sources=np.full(len(evidence.labels), "human", object))
        slices, _ = measure_recipe(people, RECIPE, held_out)
        assert list(slices) == ["all", "human", "newest"]

    @pytest.mark.parametrize("contender", ["model", "always_skip", "rule"])
    def test_keeps_alone_have_recall_brier_score_and_log_loss_and_no_pr_auc(
        self, measured, contender
    ):
        found = measured[0][contender]["rule"]
        defined = {name for name, value in found.items() if value["mean"] is not None}
        # A rule gives no probabilities, and to call a keep impossible costs an infinite loss.
        expected = {
            "model": {"recall", "brier", "log_loss"},
            "always_skip": {"recall", "brier"},
            "rule": {"recall"},
        }
        recalls = {"recall_at_p80", "recall_at_r95"}
        assert defined == expected[contender] | recalls
        assert found["pr_auc"] == {"mean": None, "std": None}

    def test_skips_alone_have_a_false_positive_rate(self, evidence, held_out):
        sources = np.where(evidence.labels == 0, "human", "rule").astype(object)
        slices, _ = measure_recipe(replace(evidence, sources=sources), RECIPE, held_out)
        defined = {name for name, v in slices["human"].items() if v["mean"] is not None}
        assert defined == {"false_positive_rate", "brier", "log_loss"}

    def test_the_figures_of_all_are_those_of_the_25_folds(self, evidence, held_out, measured):
        record, pr_auc = measured
        by_fold = contenders.model(evidence.labels, held_out).by_fold(evidence.point)
        assert pr_auc == by_fold["pr_auc"]
        assert set(record["model"]["all"]) == {*by_fold, "calibration_error"}
        for name, values in by_fold.items():
            found = record["model"]["all"][name]
            assert found["mean"] == pytest.approx(np.mean(values))
            assert found["std"] == pytest.approx(np.std(values, ddof=1))

    def test_the_newest_are_told_by_a_model_of_the_others(self, evidence, measured):
        newest = newest_rows(evidence.created, evidence.labels)
        model = fit(evidence.matrix[~newest], evidence.labels[~newest], RECIPE)
        answers = predict(model, evidence.matrix[newest]).astype(float)
        brier = ((answers - evidence.labels[newest]) ** 2).mean()
        found = measured[0]["model"]["newest"]
        assert found["brier"] == {"mean": pytest.approx(brier), "std": None}
        assert found["recall_at_p80"]["mean"] is not None

    def test_always_skip_has_the_share_of_keeps_and_no_recall(self, evidence, measured):
        record, _ = measured
        found = record["always_skip"]
        assert found["all"]["pr_auc"]["mean"] == pytest.approx(evidence.labels.mean(), abs=1e-3)
        newest = record["slices"]["newest"]
        share = newest["keeps"] / newest["titles"]
        assert found["newest"]["pr_auc"]["mean"] == pytest.approx(share)
        for name in record["slices"]:
            assert found[name]["recall"]["mean"] == 0

    def test_the_rule_is_the_best_number_and_its_figures_are_of_the_folds(
        self, evidence, held_out, measured
    ):
        record, _ = measured
        numbers = evidence.matrix[:, : evidence.numeric]
        rule = single_feature_rule(numbers, evidence.names, evidence.labels, held_out.assignment)
        assert record["the_rule"] == str(rule) == "score alone, the highest first"
        expected = np.mean(rule.contender.by_fold(evidence.point)["pr_auc"])
        assert record["rule"]["all"]["pr_auc"]["mean"] == pytest.approx(expected)

    def test_the_rule_for_the_newest_is_chosen_without_them(self, evidence, held_out):
        # 'decoy' tells the labels of the newest for certain, and those of the others less well
        # than 'score' does: over all rows it is the best.
        labels, score = evidence.labels, evidence.matrix[:, 0]
        newest = newest_rows(evidence.created, labels)
        noise = np.random.default_rng(3).normal(0, 0.75, len(labels))
        decoy = labels + np.where(newest, 0, noise)
        tempted = replace(
            evidence,
            matrix=np.column_stack([decoy, evidence.matrix]).astype(np.float32),
            names=["decoy_norm", *evidence.names],
            numeric=evidence.numeric + 1,
        )
        record, _ = measure_quality(tempted, RECIPE, held_out, {})
        assert record["the_rule"] == "decoy alone, the highest first"
        expected = average_precision_score(labels[newest], score[newest])
        assert expected < 0.95
        found = record["rule"]["newest"]["pr_auc"]
        assert found == {"mean": pytest.approx(expected), "std": None}

    def test_calibration_and_alternatives_are_of_blind_answers(self, evidence, held_out, measured):
        record, _ = measured
        blind = held_out.probabilities.astype(float)
        errors = [calibration_error(evidence.labels, answers) for answers in blind]
        assert record["calibration"]["error"]["mean"] == pytest.approx(np.mean(errors))
        titles = sum(row["titles"] for row in record["calibration"]["table"])
        assert titles == 5 * len(evidence.labels)
        (in_use,) = [row for row in record["alternatives"] if row["in_use"]]
        mean = blind.mean(axis=0)
        assert in_use["threshold"] == threshold_at(evidence.point, evidence.labels, mean)
        assert in_use["threshold"] in mean

    @pytest.mark.parametrize("text", ["f1", "precision>=0.8", "recall>=0.95", "precision>=0.77"])
    def test_exactly_one_operating_point_is_in_use_and_it_is_the_one_asked_for(
        self, evidence, held_out, text
    ):
        asked = replace(evidence, point=OperatingPoint.parse(text))
        rows = measure_quality(asked, RECIPE, held_out, {})[0]["alternatives"]
        assert [row["operating_point"] for row in rows if row["in_use"]] == [text]
        others = [str(point) for point in ALTERNATIVES]
        assert {row["operating_point"] for row in rows} == {*others, text}
        assert len(rows) == len({*others, text})

    def test_what_an_operating_point_gives_is_told_by_thresholds_that_did_not_see_the_fold(
        self, evidence, held_out, measured
    ):
        """Kept out: a table that flatters the point in use by the rows that chose it."""
        models = contenders.model(evidence.labels, held_out)
        mean = held_out.probabilities.mean(axis=0, dtype=float)
        for row in measured[0]["alternatives"]:
            blind = models.at(OperatingPoint.parse(row["operating_point"]))
            for name in ("precision", "recall", "f1"):
                assert row[name] == pytest.approx(np.mean(blind[name]))
            if row["threshold"] is None:
                assert row["predicted_keep"] == 0
            else:
                assert row["predicted_keep"] == (mean >= row["threshold"]).sum()

    def test_what_the_nested_search_found_is_handed_on(self, measured):
        assert measured[0]["nested"] == {"labels": 3}

    def test_the_guards_read_it(self, measured):
        record, _ = measured
        assert not any("cannot be measured" in said for said in failed_guards(record))

"""The review queue on a real library: which films are in it, in which order, and what is said."""

import re
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from atx_assets import schemas
from atx_assets.defs.assets.review_queue import review_queue
from atx_assets.defs.resources.current_settings import given_settings
from atx_assets.learning.folds import LEAST_LABELS
from atx_assets.learning.neighbours import leaves, proximity
from atx_assets.learning.review import LEAST_UNSURE, sceptical_probabilities, unsureness
from atx_assets.models.bundles import Bundles
from atx_assets.models.training_data import read_training_data
from atx_assets.report.queue import (
    MOST,
    doubted_labels,
    films_to_label,
    films_to_label_again,
    surest_keeps,
)
from atx_assets.report.scored_films import read_scored
from atx_assets.schemas import AGAIN, LABEL, RECOMMENDED
from atx_assets.settings import read_settings
from atx_assets_tests.builders.workplace import REPORT

pytestmark = pytest.mark.slow


def made(files):
    settings = read_settings({"ATX_DATA_DIR": str(files.folder)})
    return review_queue(files=files, current_settings=given_settings(settings))


def of_task(files, task):
    return [r for r in files.read_records("review_queue") if r["task"] == task]


def sceptical(files) -> dict[str, float]:
    learned = Bundles(files).champion().learned_from
    return dict(zip(learned["key"].to_pylist(), learned["sceptical"].to_pylist(), strict=True))


def of_label(probability: float, record) -> float:
    return probability if record["actual"] else 1 - probability


def with_results(files, change):
    """Write the scores anew, each row as `change` returns it."""
    results = files.read_table("scored_results")
    rows = [change(row) for row in results.to_pylist()]
    files.write_table("scored_results", pa.Table.from_pylist(rows, results.schema))


# -- all of them


def test_records_have_the_columns_of_their_schema(finished):
    for record in finished.files.read_records("review_queue"):
        assert set(record) == {c.name for c in schemas.REVIEW_QUEUE}
        assert list(record)[:3] == ["rank", "task", "because"]


def test_ranks_count_within_a_task_and_the_questions_take_turns(finished):
    records = finished.files.read_records("review_queue")
    counts = Counter(r["task"] for r in records)
    assert all(0 < counts[task] <= most for task, most in MOST.items())
    for task, count in counts.items():
        assert [r["rank"] for r in records if r["task"] == task] == list(range(1, count + 1))
    asked = [r for r in records if r["task"] != RECOMMENDED]
    assert records == asked + of_task(finished.files, RECOMMENDED)
    both = 2 * min(counts[AGAIN], counts[LABEL])
    assert [r["task"] for r in asked[:both]] == [AGAIN, LABEL] * (both // 2)
    assert len({r["task"] for r in asked[both:]}) <= 1


def test_no_film_comes_twice(finished):
    keys = [r["key"] for r in finished.files.read_records("review_queue")]
    assert len(set(keys)) == len(keys)


def test_the_page_counts_and_shows_the_films_of_each_task(finished):
    metadata = made(finished.files).metadata
    counts = Counter(r["task"] for r in finished.files.read_records("review_queue"))
    assert metadata["to label again"] == counts[AGAIN]
    assert metadata["to label"] == counts[LABEL]
    assert metadata["recommended"] == counts[RECOMMENDED]
    assert metadata["dagster/row_count"] == sum(counts.values())
    assert metadata["labels doubted"] >= counts[AGAIN]
    for name, task in (("preview", AGAIN), ("preview: label", LABEL)):
        assert of_task(finished.files, task)[0]["media_title"] in metadata[name].md_str
    surest = of_task(finished.files, RECOMMENDED)[0]["media_title"]
    assert surest in metadata["preview: recommended"].md_str
    givers = Counter(r["label_source"] for r in of_task(finished.files, AGAIN))
    assert metadata["of these, labelled by a rule"] == givers["rule"]
    assert metadata["of these, labelled by a person"] == givers["human"]


def test_rows_that_nobody_asks_a_person_about_are_in_no_task(copied):
    """A label by a model, or an odd film: labelled, and no training row."""
    keys = {r["key"] for r in copied.files.read_records("review_queue")}

    def by_a_model(row):
        changed = {"actual": None, "cm_value": None, "label_source": "model"}
        return row | changed if row["key"] in keys else row

    with_results(copied.files, by_a_model)
    made(copied.files)
    now = {r["key"] for r in copied.files.read_records("review_queue")}
    assert now
    assert not now & keys


def test_a_library_without_any_question_has_an_empty_queue(copied):
    def sure(row):
        kept = bool(row["actual"])
        changed = {"probability": float(kept), "predicted": kept}
        return row | changed

    with_results(copied.files, sure)
    scored = read_scored(copied.files)
    assert len(films_to_label(scored, np.zeros(0, int))[0]) == 0
    assert len(surest_keeps(scored, 20)) == 0
    bundle = SimpleNamespace(learned_from=scored.bundle.learned_from.drop_columns("sceptical"))
    assert len(doubted_labels(replace(scored, bundle=bundle)).rows) == 0


def test_a_recommended_film_is_not_asked_about_even_if_the_model_is_unsure_of_it(copied):
    threshold = Bundles(copied.files).champion().threshold

    def barely_kept(row):
        unsure = {"probability": threshold + 0.01, "predicted": True}
        return row if row["label_source"] else row | unsure

    with_results(copied.files, barely_kept)
    made(copied.files)
    recommended = {r["key"] for r in of_task(copied.files, RECOMMENDED)}
    to_label = {r["key"] for r in of_task(copied.files, LABEL)}
    assert len(recommended) == MOST[RECOMMENDED]
    assert len(to_label) == MOST[LABEL]
    assert not recommended & to_label


# -- labels to label again


def test_labels_are_doubted_by_models_that_do_not_trust_the_keeps_of_rules(finished):
    """Kept out: wrong keeps of rules that vouch for each other."""
    data = read_training_data(finished.files)
    by_person = pc.equal(data.table["label_source"], "human").to_numpy()
    assert (by_person & (data.labels == 1)).sum() >= LEAST_LABELS
    bundle = Bundles(finished.files).champion()
    learned = bundle.learned_from
    folds = np.stack([learned[f"seed{seed}"].to_numpy() for seed in range(5)])
    expected = sceptical_probabilities(
        data.matrix, data.labels, by_person, bundle.about["hyperparameters"], folds
    )
    assert learned["key"].to_pylist() == data.table["key"].to_pylist()
    np.testing.assert_array_equal(learned["sceptical"].to_numpy(), expected)
    assert learned.schema.field("sceptical").type == pa.float64()


def test_doubtful_labels_of_rules_come_before_those_of_people_the_least_believed_first(finished):
    doubt = sceptical(finished.files)
    records = of_task(finished.files, AGAIN)
    own = [of_label(doubt[r["key"]], r) for r in records]
    givers = [r["label_source"] == "human" for r in records]
    assert list(zip(givers, own, strict=True)) == sorted(zip(givers, own, strict=True))
    assert max(own) < 0.5
    results = finished.files.read_table("scored_results").to_pylist()
    all_doubtful = [
        r["key"]
        for r in results
        if r["actual"] is not None
        and of_label(doubt[r["key"]], r) < 0.5
        and (r["label_source"] == "rule" or of_label(r["probability"], r) < 0.5)
    ]
    assert len(records) == min(len(all_doubtful), MOST[AGAIN])
    assert {r["key"] for r in records} <= set(all_doubtful)


@pytest.mark.parametrize(
    ("rules", "people", "expected"),
    [(60, 30, (40, 10)), (60, 3, (47, 3)), (60, 0, (50, 0)), (20, 60, (20, 30)), (5, 2, (5, 2))],
)
def test_the_labels_of_rules_leave_some_places_to_those_of_people(rules, people, expected):
    givers = ["rule"] * rules + ["human"] * people
    scored = SimpleNamespace(results=pa.table({"label_source": givers}))
    rows = np.arange(len(givers))
    chosen = films_to_label_again(SimpleNamespace(scored=scored, rows=rows))
    assert Counter(givers[row] for row in chosen) == Counter(
        {"rule": expected[0], "human": expected[1]}
    )
    assert chosen.tolist() == sorted(chosen)


def test_what_doubts_a_label_is_told_beside_the_chance_by_the_model_in_use(finished):
    doubt = sceptical(finished.files)
    for record in finished.files.read_records("review_queue"):
        wanted = doubt[record["key"]] if record["task"] == AGAIN else None
        assert record["doubted_at"] == wanted


def test_it_is_said_who_gave_a_doubtful_label_and_how_far_off_it_is(finished):
    doubt = sceptical(finished.files)
    learned = Bundles(finished.files).champion().learned_from.to_pylist()
    keeps = [r["sceptical"] for r in learned if r["label"] and r["label_source"] == "human"]
    for record in of_task(finished.files, AGAIN):
        probability = doubt[record["key"]]
        verdict = "keep" if record["actual"] else "skip"
        giver = {"rule": "a rule", "human": "a person"}[record["label_source"]]
        said = (
            f"{giver} said {verdict}, but models trained to distrust rules' keeps put a keep at "
            f"{probability:.0%}"
        )
        assert record["because"].startswith(said)
        rest = record["because"].removeprefix(said)
        more = np.greater if record["actual"] else np.less
        share = int(100 * np.mean(more(keeps, probability)))
        word = "less" if record["actual"] else "more"
        assert rest == (f", {word} than for {share}% of people's keeps" if share else "")


def test_where_people_gave_too_few_keeps_the_models_of_the_folds_doubt_and_it_is_said(copied):
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'accepted' WHERE rejection_status = 'override'"
        )
    assert copied.run("refresh", without=[REPORT]).success
    doubt = sceptical(copied.files)
    results = copied.files.read_table("scored_results").to_pylist()
    blind = {r["key"]: r["probability"] for r in results if r["actual"] is not None}
    assert doubt == pytest.approx(blind, abs=1e-12)
    records = of_task(copied.files, AGAIN)
    assert records
    for record in records:
        said = "models that did not see that label, but learned rules' keeps, put a keep at"
        assert f"{said} {blind[record['key']]:.0%}" in record["because"]
        assert "people's" not in record["because"]
    metadata = made(copied.files).metadata
    assert "that did not see that label, but learned rules' keeps" in metadata["labels doubted by"]


def test_a_bundle_without_sceptical_models_doubts_by_what_the_models_of_its_folds_say(finished):
    scored = read_scored(finished.files)
    earlier = SimpleNamespace(learned_from=scored.bundle.learned_from.drop_columns("sceptical"))
    doubt = doubted_labels(replace(scored, bundle=earlier))
    np.testing.assert_array_equal(doubt.probability, scored.results["probability"].to_numpy())
    assert len(doubt.rows) > 0
    assert "models that did not see that label" in doubt.because(doubt.rows[0])


def test_a_label_given_since_training_is_doubted_by_the_champion(copied):
    results = copied.files.read_table("scored_results")
    unlabelled = results.filter(results["label_source"].is_null())
    film = unlabelled.sort_by("probability").to_pylist()[0]
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'accepted' WHERE imdb_id = %s",
            (film["imdb_id"],),
        )
    assert copied.run("score", without=[REPORT]).success
    (record,) = [r for r in of_task(copied.files, AGAIN) if r["key"] == film["key"]]
    assert record["because"] == (
        "a rule said keep, but the model, which has yet to learn that, puts a keep at "
        f"{film['probability']:.0%}"
    )
    assert record["rank"] == 1


# -- unlabelled films


def test_films_to_label_are_unlabelled_and_not_certain(finished):
    records = of_task(finished.files, LABEL)
    threshold = Bundles(finished.files).champion().threshold
    for record in records:
        assert record["actual"] is record["label_source"] is None
        assert unsureness(np.array([record["probability"]]), threshold)[0] >= LEAST_UNSURE


def test_the_film_to_label_first_is_the_most_unsure_that_is_not_recommended(finished):
    results = finished.files.read_table("scored_results")
    threshold = Bundles(finished.files).champion().threshold
    recommended = [r["key"] for r in of_task(finished.files, RECOMMENDED)]
    others = results.filter(
        pc.and_(
            results["label_source"].is_null(),
            pc.invert(pc.is_in(results["key"], pa.array(recommended))),
        )
    )
    unsure = unsureness(others["probability"].to_numpy(), threshold)
    assert of_task(finished.files, LABEL)[0]["key"] == others["key"][int(unsure.argmax())].as_py()


def test_films_to_label_say_how_like_the_model_holds_them_to_those_above(finished):
    records = of_task(finished.files, LABEL)
    scored = read_scored(finished.files)
    keys = scored.titles["key"].to_pylist()
    titles = scored.titles.take([keys.index(r["key"]) for r in records])
    where = leaves(scored.bundle.model, scored.bundle.encoding.matrix(titles))
    alike = proximity(where, where)
    assert "like" not in records[0]["because"]
    for at, record in enumerate(records[1:], 1):
        assert record["because"].endswith(f"; {alike[at, :at].max():.0%} like the nearest above it")


def test_films_to_label_say_of_how_many_the_model_is_surer(finished):
    results = finished.files.read_table("scored_results")
    threshold = Bundles(finished.files).champion().threshold
    unlabelled = results.filter(results["label_source"].is_null())
    unsure = unsureness(unlabelled["probability"].to_numpy(), threshold)
    for record in of_task(finished.files, LABEL):
        own = unsureness(np.array([record["probability"]]), threshold)[0]
        said = f"surer of {int(100 * np.mean(unsure < own))}% of such films"
        assert said in record["because"]
        assert f"a keep at {record['probability']:.0%}, and the threshold is" in record["because"]


def test_recommended_films_are_the_surest_keeps_that_nobody_labelled(finished):
    results = finished.files.read_table("scored_results")
    wanted = [r for r in results.to_pylist() if r["label_source"] is None and r["predicted"]]
    wanted.sort(key=lambda r: -r["probability"])
    records = of_task(finished.files, RECOMMENDED)
    assert [r["key"] for r in records] == [r["key"] for r in wanted[: MOST[RECOMMENDED]]]


def test_recommended_films_say_how_often_models_as_sure_were_right(finished):
    results = finished.files.read_table("scored_results").to_pylist()
    for record in of_task(finished.files, RECOMMENDED):
        as_sure = [
            r["actual"]
            for r in results
            if r["actual"] is not None and r["probability"] >= record["probability"]
        ]
        (found,) = re.findall(r"(\d+) of (\d+) are keeps$", record["because"])
        assert tuple(map(int, found)) == (sum(as_sure), len(as_sure))

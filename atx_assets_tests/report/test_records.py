"""Films as records: enough to judge by, and nothing that turns what is written after it."""

import numpy as np
import pytest

from atx_assets import schemas
from atx_assets.learning.neighbours import leaves, proximity
from atx_assets.report import records as module
from atx_assets.report.records import link, records_of
from atx_assets.report.scored_films import read_scored

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scored(finished):
    return read_scored(finished.files)


def rows_of(scored, *, labelled: bool, number: int = 20) -> np.ndarray:
    known = scored.results["actual"].is_valid().to_numpy()
    return np.flatnonzero(known == labelled)[:number]


def test_a_record_has_the_columns_of_its_schema_in_an_order_that_reads(scored):
    for record in records_of(scored, rows_of(scored, labelled=True)):
        assert set(record) == {c.name for c in schemas.ERROR_RECORDS}
        assert next(iter(record)) == "media_title"


def test_how_far_a_film_is_beyond_the_threshold_agrees_with_its_verdict(scored):
    rows = rows_of(scored, labelled=True)
    for record in records_of(scored, rows):
        assert record["beyond_threshold"] == record["probability"] - scored.bundle.threshold
        assert (record["beyond_threshold"] >= 0) == record["predicted"]


def test_a_labelled_film_says_when_its_label_was_last_touched_and_another_says_nothing(scored):
    for labelled in (True, False):
        rows = rows_of(scored, labelled=labelled)
        dates = scored.titles["label_date"].take(rows).to_pylist()
        for record, date in zip(records_of(scored, rows), dates, strict=True):
            assert record["label_date"] == (date.date().isoformat() if labelled else None)


def test_the_nearest_are_other_labelled_films_with_their_labels(scored):
    rows = rows_of(scored, labelled=False, number=5)
    labelled = scored.titles.filter(scored.titles["trains"])
    encoding, model = scored.bundle.encoding, scored.bundle.model
    ours = leaves(model, encoding.matrix(scored.titles.take(rows)))
    alike = proximity(ours, leaves(model, encoding.matrix(labelled)))
    for record, shares in zip(records_of(scored, rows), alike, strict=True):
        best = np.argsort(-shares, kind="stable")[: module.NEAREST]
        for told, row in zip(record["nearest"], best.tolist(), strict=True):
            (film,) = labelled.slice(row, 1).to_pylist()
            giver = "a person" if film["label_source"] == "human" else "a rule"
            verdict = "keep" if film["label"] else "skip"
            assert told == (
                f"{film['media_title']} ({film['release_year']}): {verdict} by {giver} "
                f"({shares[row]:.0%} alike)"
            )


def test_in_a_long_list_the_first_alone_are_compared_with_all_labelled_films(scored, monkeypatch):
    monkeypatch.setattr(module, "COMPARED", 2)
    found = records_of(scored, rows_of(scored, labelled=True, number=4))
    assert [len(record["nearest"]) for record in found] == [module.NEAREST, module.NEAREST, 0, 0]
    assert all(record["why"] for record in found)


def test_a_title_that_turns_the_direction_of_writing_turns_nothing_after_it():
    row = {"media_title": "\u202emovie\u2066!", "release_year": None}
    told = module._described({**row, "label": True, "label_source": "rule"})
    assert told == "movie! (year unknown): keep by a rule"


def test_a_film_without_an_id_has_no_link():
    assert link(None) is None
    assert link("tt0133093") == "https://www.imdb.com/title/tt0133093/"

"""Labels that changed behind a row's `reviewed`: what is learned from, and what is told."""

import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atx_assets.errors import AtxError
from atx_assets.sources.layouts import LAYOUTS
from atx_assets.sources.models_labels import models_labels_in
from atx_assets.sources.observed_labels import MOST_BY_HAND, of_models
from atx_assets.sources.observed_record import ObservedRecord, observed
from atx_assets.sources.read.extract import extract
from atx_assets.sources.read.fingerprints import read_fingerprints
from atx_assets.sources.titles import titles
from atx_assets.storage.data_folder import DataFolder

REVIEWED = {"label": "would_watch", "reviewed": True}


class Watched:
    """A table that the downloader writes to, and its extractions, as `raw_media` does them."""

    def __init__(self, library: Any, folder: Path) -> None:
        self.library, self.record, self.folder = library, ObservedRecord(folder), folder
        self.path = DataFolder(folder).path("raw_media")

    def extract(self) -> pa.Table:
        """Extract, record, and return the titles."""
        with self.library.reading() as (connection, found):
            source, states = observed(connection, found, self.record.home, self.folder)
            prints = asdict(read_fingerprints(connection, source))
            extract(connection, source, self.folder / "beside", prints)
        (self.folder / "beside").replace(self.path)
        if states:
            self.record.write(states, {})
        rows = pq.read_table(self.path)
        return titles(rows, LAYOUTS["training"], None, models_labels_in(rows))

    def givers(self) -> dict[str, str | None]:
        """Who gave the label of each title, by the last digit of its id."""
        made = self.extract()
        return dict(
            zip(
                (k[-1] for k in made["key"].to_pylist()),
                made["label_source"].to_pylist(),
                strict=True,
            )
        )

    def prints(self) -> dict[str, str]:
        """The fingerprints as a sensor reads them at this moment."""
        with self.library.reading() as (connection, found):
            source, _ = observed(connection, found, self.record.home, self.folder)
            return asdict(read_fingerprints(connection, source))

    def change(self, assignment: str, *numbers: int) -> None:
        ids = [f"tt{n:07}" for n in numbers]
        query = f"UPDATE atp.training SET {assignment} WHERE imdb_id = ANY(%s)"
        self.library.execute(query, [ids])


@pytest.fixture
def watched(library: Any, entry: Callable[..., Any], tmp_path: Path) -> Watched:
    """Five reviewed keeps of rules, of which one is a person's; and one that is not reviewed."""
    rows = [entry(n, **REVIEWED) for n in range(1, 6)]
    rows[4] |= {"human_labeled": True}
    library.create("training", [*rows, entry(6, label="would_watch")])
    made = Watched(library, tmp_path)
    assert made.givers() == dict.fromkeys("1234", "rule") | {"5": "human", "6": "model"}
    return made


def test_a_label_that_changes_under_a_reviewed_row_is_the_downloaders(watched: Watched) -> None:
    """Kept out: a model that learns from the answers of a scoring service that failed."""
    watched.change("label = 'would_not_watch'", 1, 5)
    watched.change("label = NULL", 2)
    assert watched.givers() == {
        **{"1": "model", "2": None, "3": "rule", "4": "rule", "5": "human", "6": "model"}
    }
    # Back again, or given anew where none was: who gave it is known.
    watched.change("label = 'would_watch'", 1)
    watched.change("label = 'would_not_watch'", 2)
    assert watched.givers() == {
        **{"1": "model", "2": "model", "3": "rule", "4": "rule", "5": "human", "6": "model"}
    }
    assert of_models(watched.record.read(), {"tt0000001": "One"}) == [
        {
            "title": "One",
            "imdb_id": "tt0000001",
            "was": "keep",
            "is": "keep",
            "why": "changed by the downloader",
        },
        {
            "title": "tt0000002",
            "imdb_id": "tt0000002",
            "was": "keep",
            "is": "skip",
            "why": "changed by the downloader",
        },
    ]


def test_labels_that_are_lost_and_put_back_are_what_they_were(watched: Watched) -> None:
    """Kept out: a half-done import, after which no label of a rule ever teaches again."""
    learned = watched.prints()["labels"]
    watched.change("label = NULL", 1, 2, 3, 4)
    assert watched.givers()["1"] is None
    watched.change("label = 'would_watch'", 1, 2, 3, 4)
    assert watched.givers() == dict.fromkeys("1234", "rule") | {"5": "human", "6": "model"}
    assert watched.prints()["labels"] == learned


def test_a_correction_in_between_hides_no_change(watched: Watched) -> None:
    """Kept out: the downloader's skip taught as a rule's, once a person's keep was undone."""
    watched.change("label = 'would_not_watch'", 1)  # no extraction sees it
    watched.change("label = 'would_watch', human_labeled = true", 1)
    assert watched.givers()["1"] == "human"
    watched.change("label = 'would_not_watch', human_labeled = false", 1)
    assert watched.givers()["1"] == "model"


def test_rows_that_are_gone_are_not_told_of(watched: Watched) -> None:
    watched.change("label = 'would_not_watch'", 1)
    watched.extract()
    assert [label["imdb_id"] for label in of_models(watched.record.read(), {})] == ["tt0000001"]
    watched.library.execute("DELETE FROM atp.training WHERE imdb_id = 'tt0000001'")
    watched.extract()
    assert of_models(watched.record.read(), {}) == []


def test_it_stays_the_downloaders_until_a_person_has_looked(watched: Watched) -> None:
    watched.change("label = 'would_not_watch'", 1, 2)
    assert watched.givers()["1"] == "model"
    watched.change("human_labeled = true, label = 'would_watch'", 1)
    assert watched.givers()["1"] == "human"
    watched.change("reviewed = false", 2)
    assert watched.givers()["2"] == "model"
    watched.change("reviewed = true", 2)
    assert watched.givers()["2"] == "rule"
    # What is reviewed by itself counts, be it for the first time.
    watched.change("reviewed = true", 6)
    assert watched.givers()["6"] == "rule"


def test_undoing_a_persons_word_makes_the_downloaders_label_no_better(watched: Watched) -> None:
    """Kept out: a correction and its undo, after which the downloader's label teaches."""
    watched.change("label = 'would_not_watch'", 1)
    assert watched.givers()["1"] == "model"
    watched.change("label = 'would_watch', human_labeled = true", 1)
    assert watched.givers()["1"] == "human"
    watched.change("label = 'would_not_watch', human_labeled = false", 1)
    assert watched.givers()["1"] == "model"
    # Where a person gave another label and took their name off it, it is not the downloader's.
    watched.change("label = 'would_watch', human_labeled = true", 1)
    watched.extract()
    watched.change("human_labeled = false", 1)
    assert watched.givers()["1"] == "rule"


@pytest.mark.parametrize("rows", [MOST_BY_HAND, MOST_BY_HAND + 1])
def test_many_rows_that_turn_reviewed_at_once_stay_what_they_were(
    library: Any, entry: Callable[..., Any], tmp_path: Path, rows: int
) -> None:
    """Kept out: the nightly job that reviews every row, and a model taught by its own answers."""
    people = {"label": "would_watch", "human_labeled": True}
    new = [entry(n, label="would_watch") for n in range(1, rows + 1)]
    known = [entry(900, **REVIEWED), *(entry(n, **people) for n in range(901, 960))]
    library.create("training", [*new, *known])
    watched = Watched(library, tmp_path)
    watched.extract()
    learned = watched.prints()["labels"]
    library.execute("UPDATE atp.training SET reviewed = true")
    # A person's own rows say nothing of a job.
    by_job = rows > MOST_BY_HAND
    assert (watched.prints()["labels"] == learned) is by_job
    made = watched.extract()
    givers = dict(zip(made["key"].to_pylist(), made["label_source"].to_pylist(), strict=True))
    assert set(map(givers.get, (r["imdb_id"] for r in new))) == {"model" if by_job else "rule"}
    assert givers["tt0000900"] == "rule"
    assert givers["tt0000901"] == "human"
    found = of_models(watched.record.read(), {})
    assert {label["why"] for label in found} == ({"reviewed by a job"} if by_job else set())
    # Reviewed once more, each by itself.
    watched.change("reviewed = false", 1)
    watched.extract()
    watched.change("reviewed = true", 1)
    assert watched.extract()["label_source"][0].as_py() == "rule"


def test_a_film_that_comes_reviewed_is_what_its_row_says(
    watched: Watched, entry: Callable[..., Any]
) -> None:
    new = entry(7, **REVIEWED)
    watched.library.insert("training", [new])
    assert watched.givers()["7"] == "rule"
    # Another row of the same film, as in another database: nothing has changed.
    watched.library.execute("DELETE FROM atp.training WHERE imdb_id = 'tt0000007'")
    assert "7" not in watched.givers()
    later = new | {"created_at": new["created_at"].replace(year=2026), "label": "would_not_watch"}
    watched.library.insert("training", [later])
    assert watched.givers()["7"] == "rule"
    # The same row, which was away for a while.
    watched.library.execute("DELETE FROM atp.training WHERE imdb_id = 'tt0000007'")
    watched.extract()
    watched.library.insert("training", [later | {"label": "would_watch"}])
    assert watched.givers()["7"] == "model"


@pytest.mark.parametrize("missing", ["human_labeled", "reviewed"])
def test_a_table_that_tells_no_person_from_a_rule_is_taken_as_it_is(
    library: Any, entry: Callable[..., Any], tmp_path: Path, missing: str
) -> None:
    row = {name: value for name, value in entry(1, **REVIEWED).items() if name != missing}
    library.create("training", [row], without=[missing])
    watched = Watched(library, tmp_path)
    assert watched.givers() == {"1": "rule"}
    watched.change("label = 'would_not_watch'", 1)
    assert watched.givers() == {"1": "rule"}
    assert not watched.record.path.exists()


def test_the_same_extraction_read_twice_adds_nothing(watched: Watched) -> None:
    watched.change("label = 'would_not_watch'", 1)
    watched.extract()
    record, file = watched.record.path.read_bytes(), watched.path.read_bytes()
    assert watched.record.path.stat().st_mode & 0o777 == 0o600
    watched.change("tagline = tagline", 1)
    watched.extract()
    assert (watched.record.path.read_bytes(), watched.path.read_bytes()) == (record, file)


def test_a_damaged_record_is_one_line_and_nothing_is_forgotten(watched: Watched) -> None:
    content = bytearray(watched.record.path.read_bytes())
    for damage in (
        bytes(content[:-9]),
        b"",
        bytes([*content[:40], content[40] ^ 1, *content[41:]]),
    ):
        watched.record.path.write_bytes(damage)
        with pytest.raises(AtxError, match="is damaged: restore it from a backup") as caught:
            watched.prints()
        assert "\n" not in str(caught.value)
    watched.record.path.write_bytes(content)
    assert watched.prints()


def test_a_record_that_is_gone_is_made_up_for_by_the_last_extraction(watched: Watched) -> None:
    """Kept out: a missing record read as a first run, after which the downloader's labels teach."""
    watched.change("label = 'would_not_watch'", 1)
    assert watched.givers()["1"] == "model"
    prints = watched.prints()
    watched.record.path.unlink()
    assert watched.prints() == prints
    watched.change("label = 'would_not_watch'", 2)  # seen by no extraction yet
    assert watched.givers() == {
        **{"1": "model", "2": "model", "3": "rule", "4": "rule", "5": "human", "6": "model"}
    }
    watched.record.path.unlink()
    watched.path.write_bytes(watched.path.read_bytes()[:-9])
    assert watched.givers() == dict.fromkeys("1234", "rule") | {"5": "human", "6": "model"}


def test_rows_with_no_id_of_their_own_do_not_stand_in_the_way(watched: Watched) -> None:
    """Kept out: a home from before the record, in which one such row ended every extraction."""
    watched.library.execute("ALTER TABLE atp.training DROP CONSTRAINT training_pkey")
    watched.library.execute("ALTER TABLE atp.training ALTER imdb_id DROP NOT NULL")
    copy = "INSERT INTO atp.training SELECT * FROM atp.training WHERE imdb_id = 'tt0000003'"
    for query in (
        copy,
        copy,
        "UPDATE atp.training SET imdb_id = NULL WHERE imdb_id = 'tt0000001'",
        "UPDATE atp.training SET imdb_id = 'none' WHERE imdb_id = 'tt0000002'",
    ):
        watched.library.execute(query)
    watched.extract()
    watched.record.path.unlink()
    watched.change("label = 'would_not_watch'", 4)
    watched.extract()
    states = watched.record.read() or {}
    assert {key: state.reason for key, state in states.items()} == {
        **{"tt0000004": "changed", "tt0000005": None, "tt0000006": None}
    }


_STEPS = (
    *(f"label = {label}" for label in ("'would_watch'", "'would_not_watch'", "NULL")),
    *(f"{flag} = {value}" for flag in ("human_labeled", "anomalous") for value in (True, False)),
    *("reviewed = true", "reviewed = false", "reviewed = NULL"),
    *("label = 'would_watch', human_labeled = true", "label = NULL, reviewed = true"),
    "tagline = 'x'",
)


@pytest.mark.parametrize("seed", range(3))
def test_sensors_see_each_step_once_and_what_is_learned_goes_with_the_labels(
    library: Any, entry: Callable[..., Any], tmp_path: Path, seed: int
) -> None:
    """Kept out: a refresh that never ends, and a change that no run ever follows."""
    choice = random.Random(seed)
    flags = [None, True, False]
    library.create(
        "training",
        [
            entry(
                n,
                label=choice.choice([None, "would_watch", "would_not_watch"]),
                reviewed=choice.choice(flags),
                human_labeled=choice.random() < 0.2,
            )
            for n in range(1, MOST_BY_HAND + 12)
        ],
    )
    watched = Watched(library, tmp_path)

    def state() -> tuple[dict[str, str], list[Any], Any]:
        made = watched.extract()
        learned = made.filter(made["trains"]).select(["key", "label", "label_source"])
        return watched.prints(), learned.to_pylist(), made.select(["key", "label", "label_source"])

    prints, learned, known = state()
    for _ in range(60):
        if choice.random() < 0.1:
            watched.change(choice.choice(["reviewed = true", "reviewed = false"]), *range(1, 99))
        else:
            watched.change(choice.choice(_STEPS), *choice.choices(range(1, 60), k=2))
        now, before = watched.prints(), watched.record.read()
        after, learns, knows = state()
        # What a sensor read just before is what the extraction has, and what it reads after.
        assert after == now
        if learns != learned:
            assert now["labels"] != prints["labels"]
        if knows != known or _watched_states(watched.record.read()) != _watched_states(before):
            assert now != prints
        prints, learned, known = after, learns, knows


def _watched_states(states: Any) -> dict[str, Any]:
    """What later steps depend on; a person's name counts with a label alone."""
    return {
        key: (state.reviewed and not state.human)
        if state.label is None
        else (state.label, state.human, state.reason, state.reviewed or state.human)
        for key, state in states.items()
    }

"""`atx score`: JSON in, JSON out, and the very numbers that the whole table is scored with."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from atx_assets.commands.score import score
from atx_assets.errors import AtxError
from atx_assets.models.bundles import Bundles
from atx_assets.settings import Settings, read_settings
from atx_assets.sources.extracted import layout_of, read_titles
from atx_assets.sources.load.load import load_file

pytestmark = pytest.mark.slow


def settings_of(place) -> Settings:
    return read_settings({"ATX_HOME": str(place.home), "ATX_DATA_DIR": str(place.home / "data")})


def records_of(place) -> dict[str, dict[str, object]]:
    """Each title as somebody would hand it in, by its key: what the database knows of it."""
    titles = read_titles(place.files)
    columns = dict.fromkeys(("imdb_id", "media_title", *layout_of(titles).features))
    return {
        row["key"]: {name: row[name] for name in columns if row[name] is not None}
        for row in titles.to_pylist()
    }


def scores_of(place) -> dict[str, dict[str, object]]:
    return {row["key"]: row for row in place.files.read_table("scored_results").to_pylist()}


@pytest.fixture
def program(finished, bare_environment, tmp_path):
    """Run `atx score` as a person does, with neither a database nor MLflow to be reached."""
    environment = bare_environment | {
        "ATX_HOME": str(tmp_path / "no home"),
        "ATX_DATA_DIR": str(finished.home / "data"),
        "PG_HOST": "nowhere.invalid",
        "MLFLOW_HOST": "nowhere.invalid",
        "DAGSTER_POSTGRES_URL": "postgresql+psycopg2://nobody@nowhere.invalid/dagster",
    }

    def run(*words: str, given: str | None = None, **changed: str):
        return subprocess.run(
            [sys.executable, "-m", "atx_assets.cli", "score", *words],
            env=environment | changed,
            cwd="/",
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    assert not (tmp_path / "no home").exists()


# -- the program


def test_an_object_gives_an_object_without_database_or_mlflow(program, finished):
    key, record = next(iter(records_of(finished).items()))
    started = time.monotonic()
    done = program(given=json.dumps(record))
    assert time.monotonic() - started < 30
    assert (done.returncode, done.stderr) == (0, "")
    answer, known = json.loads(done.stdout), scores_of(finished)[key]
    assert answer == {
        "key": key,
        "probability": known["probability"],
        "decision": "keep" if known["predicted"] else "skip",
        "model_version": 1,
    }


def test_a_list_gives_a_list_in_its_order_from_a_file(program, finished, tmp_path):
    records = list(records_of(finished).items())[50::-7]
    records.append(records[0])
    (tmp_path / "films.json").write_text(json.dumps([record for _, record in records]))
    done = program(str(tmp_path / "films.json"))
    assert done.returncode == 0, done.stderr
    answers, known = json.loads(done.stdout), scores_of(finished)
    assert [answer["key"] for answer in answers] == [key for key, _ in records]
    assert [answer["probability"] for answer in answers] == [
        known[key]["probability"] for key, _ in records
    ]


def test_a_list_of_one_and_of_none_stays_a_list(program):
    one = program("-", given='[{"imdb_id": "tt0133093"}]')
    assert [answer["key"] for answer in json.loads(one.stdout)] == ["tt0133093"]
    none = program(given="[]")
    assert none.returncode == 0, none.stderr
    assert json.loads(none.stdout) == []


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ('[{"imdb_id": "tt0133093"}, {"imdb_id": "tt0000002", "rt_score": 101}]', "title 2: rt_"),
        ("9" * 5000, "this is too long or too deeply nested for a title"),
        ("[" * 99_999, "this is too long or too deeply nested for a title"),
        ('{"imdb_id": "tt0133093",', "this is not valid JSON (line 1: "),
        ("7", 'this is not a title: give an object such as {"imdb_id": '),
        ("", "this is not valid JSON (line 1: "),
    ],
)
def test_what_cannot_be_scored_is_one_line_and_no_answer(program, given, says):
    done = program(given=given)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"atx: {says}")
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_cannot_be_read_is_one_line(program, tmp_path):
    done = program(str(tmp_path / "films.json"))
    assert done.returncode == 1
    assert (
        done.stderr == f"atx: {tmp_path / 'films.json'} cannot be read: No such file or directory\n"
    )
    (tmp_path / "films.json").write_bytes(b"\xff\xfe\x00")
    done = program(str(tmp_path / "films.json"))
    assert done.stderr == f"atx: {tmp_path / 'films.json'} cannot be read: it is not text\n"


def test_without_a_model_it_says_what_to_run(program, tmp_path):
    done = program(given='{"imdb_id": "tt0133093"}', ATX_DATA_DIR=str(tmp_path / "empty"))
    assert done.returncode == 1
    assert done.stderr.startswith("atx: no model has been trained yet: run full_rebuild")


def test_three_films_by_the_program_are_the_table_to_the_last_bit(program, finished):
    records, known = records_of(finished), scores_of(finished)
    by_source = {row["label_source"]: key for key, row in known.items()}
    assert set(by_source) == {"human", "rule", None}
    for key in by_source.values():
        done = program(given=json.dumps(records[key]))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["probability"] == known[key]["probability"]


# -- one encoder


def test_a_decision_is_that_of_the_table_at_the_threshold_too(finished):
    answers = json.loads(score(settings_of(finished), json.dumps([*records_of(finished).values()])))
    known = scores_of(finished)
    assert len(answers) == len(known)
    for answer in answers:
        row = known[answer["key"]]
        assert answer["probability"] == row["probability"]
        assert answer["decision"] == ("keep" if row["predicted"] else "skip")
        assert answer["model_version"] == row["model_version"]
    threshold = Bundles(finished.files).champion().threshold
    assert threshold in {answer["probability"] for answer in answers}
    assert {answer["decision"] for answer in answers} == {"keep", "skip"}


def test_what_a_model_does_not_know_of_a_film_is_unknown_and_no_zero(finished):
    bare = {"imdb_id": "tt9999998", "media_title": "Never heard of"}
    nulls = bare | {"rt_score": None, "genre": [], "language": ["No such language"]}
    zeros = bare | {"rt_score": 0, "metascore": 0, "imdb_rating": 0.0, "release_year": 1900}
    answers = json.loads(score(settings_of(finished), json.dumps([bare, nulls, zeros])))
    assert answers[0]["probability"] == answers[1]["probability"] != answers[2]["probability"]


def test_null_and_nan_are_unknown_to_a_model_wherever_they_stand(finished):
    """Kept out: a null in a list refused a title that its row in the table would have scored."""
    plain = '{"imdb_id": "tt9999998", "genre": ["Action"]}'
    odd = '{"imdb_id": "tt9999998", "genre": ["Action", null, NaN], "rt_score": NaN}'
    answers = json.loads(score(settings_of(finished), f"[{plain}, {odd}]"))
    assert answers[0] == answers[1]


def test_a_damaged_champion_is_one_line(copied):
    (Bundles(copied.files).champion().folder / "model.ubj").write_bytes(b"half")
    with pytest.raises(AtxError, match="is not the file that was saved") as caught:
        score(settings_of(copied), '{"imdb_id": "tt9999999"}')
    assert "\n" not in str(caught.value)


@pytest.mark.real_data
@pytest.mark.parametrize(("layout", "count"), [("media", 120), ("training", 80)])
def test_each_film_of_a_real_library_alone_in_a_batch_and_in_the_table_is_one_float(
    layout: str, count: int, workplace, shared_data: Path
):
    with workplace.connect() as connection:
        load_file(connection, shared_data / f"{layout}.parquet")
    assert workplace.learns("full_rebuild", ATX_MLFLOW="off", ATX_SEARCH="off").success
    settings, known, records = settings_of(workplace), scores_of(workplace), records_of(workplace)
    keys = list(records)
    keys = [keys[at] for at in np.linspace(0, len(keys) - 1, count).astype(int)]
    assert len(set(keys)) == count
    batch = json.loads(score(settings, json.dumps([records[key] for key in keys])))
    alone = [json.loads(score(settings, json.dumps(records[key]))) for key in keys]
    table = [known[key]["probability"] for key in keys]
    assert [answer["key"] for answer in alone] == keys
    assert [answer["probability"] for answer in alone] == table
    assert batch == alone

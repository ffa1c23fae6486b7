"""`atx explain`: one title, by id, key or name, from the files of a real run alone."""

import json
import re

import pyarrow as pa
import pytest

from atx_assets.cli.main import main
from atx_assets.commands.explain import _row_of
from atx_assets.errors import AtxError
from atx_assets.models.bundles import Bundles

pytestmark = pytest.mark.slow


@pytest.fixture
def explain(finished, capsys):
    """Run the program with no database to be reached; it returns status, stdout and stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        with finished.environment(PG_HOST="nowhere.invalid", MLFLOW_HOST="nowhere.invalid"):
            status = main(["explain", *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def films(finished) -> list[dict[str, object]]:
    return finished.files.read_table("scored_results").to_pylist()


def one(films, **wanted) -> dict[str, object]:
    return next(f for f in films if all(f[name] == value for name, value in wanted.items()))


def unique(films) -> dict[str, object]:
    titles = [film["media_title"].casefold() for film in films]
    return next(f for f in films if titles.count(f["media_title"].casefold()) == 1)


def test_a_labelled_film_is_told_whole(explain, films, finished):
    film = one(films, actual=False, label_source="rule")
    status, out, err = explain(film["imdb_id"])
    assert (status, err) == (0, "")
    threshold = Bundles(finished.files).champion().threshold
    lines = out.splitlines()
    assert lines[0] == f"{film['media_title']} ({film['release_year']})"
    assert re.match(r"  label      skip by a rule \(.+\), last touched \d{4}-\d\d-\d\d$", lines[1])
    assert lines[2] == (
        f"  chance     {film['probability']:.1%} of a keep, by models that had not seen its label"
    )
    decision = "keep" if film["predicted"] else "skip"
    assert lines[3] == f"  decision   {decision}: a keep from {threshold:.1%} on (version 1)"
    assert re.match(r"  because    .+: [+-]\d+\.\d$", lines[4])
    assert len(re.findall(r"\(\d+% alike\)$", out, re.MULTILINE)) == 3
    assert f"https://www.imdb.com/title/{film['imdb_id']}/" in lines[-1]


def test_an_unlabelled_film_is_the_champions_answer(explain, films):
    film = one(films, label_source=None)
    _, out, _ = explain(film["key"])
    assert "label      none: nobody has labelled it" in out
    assert f"{film['probability']:.1%} of a keep, by the champion" in out


def test_json_is_the_record_that_the_lists_have(explain, films, finished):
    several = [one(films, cm_value=value)["key"] for value in ("fp", "fn")]
    known = {
        record["key"]: record
        for asset in ("false_positives", "false_negatives")
        for record in finished.files.read_records(asset)
    }
    status, out, _ = explain("--json", *several)
    assert status == 0
    for key, record in zip(several, json.loads(out), strict=True):
        assert {name: record[name] for name in known[key]} == known[key]
        assert record["model_version"] == 1
        assert record["decision"] == ("keep" if record["predicted"] else "skip")
        assert record["label"] is record["actual"]
        assert (record["probability"] >= record["threshold"]) is record["predicted"]
    status, out, _ = explain("--json", several[0])
    assert json.loads(out)["key"] == several[0]


def test_a_title_is_found_in_any_case_with_its_year_or_without(explain, films):
    film = unique(films)
    title = film["media_title"]
    for words in (title.upper(), f" {title.lower()} ", f"{title} ({film['release_year']})"):
        status, out, err = explain(words)
        assert (status, err) == (0, "")
        assert str(film["imdb_id"]) in out


def test_what_nothing_fits_is_one_line_with_what_is_near(explain, films):
    film = next(f for f in films if len(f["media_title"]) > 12)
    for words in (film["media_title"][:-2], film["media_title"] + "q", film["imdb_id"][:-1] + "x"):
        status, out, err = explain(words)
        assert (status, out) == (1, "")
        assert err.startswith(f"atx: no scored film is {words!r}; similar: ")
        assert film["imdb_id"] in err
        assert len(err.splitlines()) == 1
    status, _, err = explain("")
    assert status == 1
    assert err == "atx: no scored film is ''\n"


def test_a_film_that_is_set_aside_is_told_with_the_reason(copied, capsys):
    film = unique(copied.files.read_table("scored_results").to_pylist())
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET release_year = 9999 WHERE imdb_id = %s", (film["imdb_id"],)
        )
    assert copied.learns("score").success
    with copied.environment(PG_HOST="nowhere.invalid"):
        for words in (film["imdb_id"], film["media_title"]):
            assert main(["explain", words]) == 1
            assert re.fullmatch(
                rf"atx: {re.escape(repr(words))} was not scored: "
                r"its (row is|\d+ rows are) set aside \(release_year is above 2100: 9999\); "
                r"fix it at its source, then `atx run --job score`\n",
                capsys.readouterr().err,
            )


def test_before_the_first_scoring_it_says_what_to_run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ATX_DATA_DIR", str(tmp_path))
    assert main(["explain", "tt0133093"]) == 1
    assert "run full_rebuild" in capsys.readouterr().err


MADE_UP = [
    ("tt0087182", "Dune", 1984),
    ("tt1160419", "Dune", 2021),
    (None, "Dune", None),
    ("tt0000009", "\x1b[2JDune Buggy", 2000),
]


def results(rows=MADE_UP) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {
                "key": imdb or f"{title.casefold()}|{year}",
                "imdb_id": imdb,
                "media_title": title,
                "release_year": year,
            }
            for imdb, title, year in rows
        ]
    )


def test_several_films_of_one_title_are_named():
    with pytest.raises(AtxError) as caught:
        _row_of("DUNE", results())
    assert str(caught.value) == (
        "'DUNE' may be Dune (1984) tt0087182, Dune (2021) tt1160419, Dune (?) dune|None: "
        "give the id of one"
    )
    assert _row_of("dune (2021)", results()) == 1
    assert _row_of("dune|none", results()) == 2
    assert _row_of("TT0087182", results()) == 0
    with pytest.raises(AtxError, match=r"similar: .*\?\[2JDune Buggy"):
        _row_of("dune bugg", results())


def test_a_title_is_found_however_its_name_is_spelled():
    films = results([*MADE_UP, (None, "Ame\u0301lie \u200bPoulain", 2001)])
    for asked in ("Amélie  Poulain", "AME\u0301LIE\u00a0POULAIN", "amélie poulain (2001)"):
        assert _row_of(asked, films) == len(MADE_UP)

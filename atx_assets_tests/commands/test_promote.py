"""`atx promote` and `atx rollback`: what they say, and what they leave alone."""

import io
import json
import shutil
from pathlib import Path

import pytest

from atx_assets.cli.main import main
from atx_assets.errors import AtxError
from atx_assets.models.bundles import Bundles, Place
from atx_assets.storage.checksums import sums_of

pytestmark = pytest.mark.slow


@pytest.fixture
def atx(copied, monkeypatch, capsys):
    """Run the program, without MLflow, on a workplace with three versions; the third scores."""
    models = Bundles(copied.files).folder
    for version, threshold in (("2", 0.4), ("3", 0.6)):
        shutil.copytree(models / "1", models / version)
        about = json.loads((models / version / "bundle.json").read_text())
        (models / version / "bundle.json").write_text(json.dumps(about | {"threshold": threshold}))
        sums_of(models / version / "bundle.json").unlink()  # it was changed by hand
    (models / "champion.json").write_text('{"version": 3, "before": [2, 1]}')
    sums_of(models / "champion.json").unlink()
    shutil.rmtree(copied.home / "mlflow")
    for name, value in {
        "ATX_HOME": str(copied.home),
        "ATX_DATA_DIR": str(copied.home / "data"),
        "ATX_MLFLOW": "off",
        "PG_HOST": "nowhere.invalid",
    }.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> tuple[int, str, str]:
        status = main(words)
        told = capsys.readouterr()
        assert len(told.err.splitlines()) == (1 if status else 0), told.err
        return status, told.out, told.err

    yield run
    assert not (copied.home / "mlflow").exists()


def contents(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_a_version_that_is_promoted_scores_and_is_told(atx, copied):
    status, out, _ = atx("promote", "1")
    assert status == 0
    assert "version 1 is champion (PR-AUC 0." in out
    assert "training does not put version 3 back by itself" in out
    assert "`atx run --job score` scores with it now" in out
    assert Bundles(copied.files).place() == Place(1, (3, 2), declined=(3,))


def test_rollbacks_go_back_one_by_one_until_none_is_kept(atx, copied):
    for version in (2, 1):
        status, out, _ = atx("rollback")
        assert status == 0
        assert f"version {version} is champion" in out
    before = contents(copied.home / "data")
    status, out, err = atx("rollback")
    assert (status, out) == (1, "")
    assert err.startswith("atx: version 1 is the champion, and no earlier champion is kept")
    assert "`atx promote VERSION` takes any version" in err
    assert contents(copied.home / "data") == before


@pytest.mark.parametrize(
    ("version", "says"),
    [
        ("7", "version 7 is not in {models}: versions there: 1, 2, 3"),
        ("3", "version 3 is already the champion"),
        ("2", "version 2 in {models}/2 is damaged: promote another one"),
    ],
)
def test_what_cannot_be_promoted_is_one_line_and_changes_nothing(atx, copied, version, says):
    models = Bundles(copied.files).folder
    (models / "2" / "folds" / "seed0_fold0.ubj").unlink()
    before = contents(copied.home / "data")
    status, out, err = atx("promote", version)
    assert (status, out) == (1, "")
    assert err == f"atx: {says.format(models=models)}\n"
    assert contents(copied.home / "data") == before


@pytest.mark.parametrize("word", ["0", "-1", "latest"])
def test_a_version_is_a_whole_number_above_nought(word, capsys):
    assert main(["promote", word]) == 2
    assert "Usage: atx promote" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", '{"champion": 1}', None])
def test_promoting_a_version_mends_a_damaged_record_of_the_champion(atx, copied, content):
    pointer = Bundles(copied.files).folder / "champion.json"
    if content is None:
        pointer.unlink()
    else:
        pointer.write_text(content)
    status, out, err = atx("promote", "2")
    assert status == 0, err
    assert "version 2 is champion" in out
    assert Bundles(copied.files).place().version == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"champion": 1}', None])
def test_a_damaged_record_of_the_champion_is_told_with_its_mend(atx, copied, content):
    """Kept out: a line about JSON that says neither which file nor what to do."""
    pointer = Bundles(copied.files).folder / "champion.json"
    if content is None:
        pointer.unlink()
    else:
        pointer.write_text(content)
    status, _, err = atx("rollback")
    assert status == 1
    assert "champion.json" in err
    assert "`atx promote VERSION` writes it again; versions kept: 1, 2, 3" in err
    assert "verbose" not in err


@pytest.mark.parametrize("words", [("rollback",), ("score", "-")])
def test_a_champion_that_is_gone_names_the_version_that_takes_its_place(
    atx, copied, words, monkeypatch
):
    """Kept out: "run full_rebuild", for minutes, where another version can score at once."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"imdb_id": "tt0133093"}'))
    models = Bundles(copied.files).folder
    shutil.rmtree(models / "3")
    status, _, err = atx(*words)
    assert status == 1
    assert err == (
        f"atx: version 3, the champion, is gone from {models}: `atx promote 2` scores by version "
        f"2, or restore {models / '3'} from a backup\n"
    )
    assert atx("promote", "2")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO('{"imdb_id": "tt0133093"}'))
    status, out, _ = atx("score", "-")
    assert (status, json.loads(out)["model_version"]) == (0, 2)


def test_the_version_that_is_named_is_whole_and_knows_the_films(atx, copied):
    bundles = Bundles(copied.files)
    shutil.rmtree(bundles.folder / "3")
    (bundles.folder / "2" / "model.ubj").write_bytes(b"half")
    with pytest.raises(AtxError, match="`atx promote 1` scores by version 1, or restore "):
        bundles.champion()
    encoding = json.loads(copied.files.read_text("feature_encoding"))
    copied.files.write_text("feature_encoding", json.dumps(encoding | {"layout": "training"}))
    with pytest.raises(AtxError, match=r"gone from .*: restore .*3 from a backup; to start again"):
        bundles.champion()


def test_a_champion_with_a_damaged_file_names_the_other_versions(atx, copied, monkeypatch):
    (Bundles(copied.files).folder / "3" / "model.ubj").write_bytes(b"half")
    monkeypatch.setattr("sys.stdin", io.StringIO('{"imdb_id": "tt0133093"}'))
    status, _, err = atx("score", "-")
    assert status == 1
    assert "`atx promote VERSION` scores by another version (versions kept: 1, 2), or" in err


def test_scores_of_a_version_that_is_gone_are_made_anew_by_the_champion(atx, copied):
    bundles = Bundles(copied.files)
    shutil.rmtree(bundles.folder / "1")
    with pytest.raises(AtxError, match=r"version 1 .*: run the job score \(`atx run --job score`"):
        bundles.version(1)


def test_nothing_that_is_trained_is_one_line(atx, tmp_path, monkeypatch):
    monkeypatch.setenv("ATX_DATA_DIR", str(tmp_path / "empty"))
    status, _, err = atx("promote", "1")
    assert status == 1
    assert err.startswith("atx: version 1 is not in ")
    assert err.endswith("versions there: none\n")
    status, _, err = atx("rollback")
    assert status == 1
    assert err.startswith("atx: no model has been trained yet: run full_rebuild")

"""A byte turned in each file of the data folder, and files emptied, cut, gone, or of others.

Each reader either answers as before, to the last digit, or says in a line what is damaged and
what mends it. Formats and single causes are tried in `models/test_bundles.py`.
"""

import hashlib
import json
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xgboost as xgb

from atx_assets.commands.explain import explain
from atx_assets.commands.promote import promote
from atx_assets.commands.score import score
from atx_assets.commands.show import show_errors, show_queue, show_recommendations
from atx_assets.defs.assets.hyperparameters import read_search
from atx_assets.defs.resources.files import DataFiles
from atx_assets.errors import AtxError
from atx_assets.learning.identity import as_learned
from atx_assets.models.bundle import as_json
from atx_assets.models.bundles import Bundles
from atx_assets.models.integrity import check_models, check_results
from atx_assets.models.scoring import score_titles
from atx_assets.models.training_data import read_training_data
from atx_assets.settings import Settings, read_settings
from atx_assets.sources.extracted import layout_of, read_titles
from atx_assets.sources.sorted_library import sort_extracted
from atx_assets.storage.checksums import sums_of
from atx_assets.web.report_server import report_server
from atx_assets_tests.builders.failures import failure

pytestmark = pytest.mark.xdist_group("damaged files")

FILM = {"imdb_id": "tt9999991", "media_title": "X", "genre": ["Drama"], "rt_score": 80}
MENDS = ("materialise", "full_rebuild", "atx promote", "atx run")


class Folder:
    """A data folder with everything in it, and what is read from it in all ways that there are."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.path = settings, settings.data_dir
        self.files = DataFiles(directory=str(self.path))
        self.film = self.files.read_table("scored_results")["key"][0].as_py()

    def readers(self) -> dict[str, Callable[[], Any]]:
        return {
            "raw_media": lambda: sort_extracted(self.files).reasons,
            "titles": lambda: read_titles(self.files).to_pylist(),
            "training": lambda: read_training_data(self.files).matrix.tobytes(),
            "search": lambda: read_search(self.files)[:2],
            "scored_results": self._scores,
            "atx score": lambda: score(self.settings, json.dumps(FILM)),
            "atx explain": lambda: self._said(explain, [self.film]),
            "atx show errors": lambda: self._said(show_errors),
            "atx show queue": lambda: self._said(show_queue),
            "atx show recommendations": lambda: self._said(show_recommendations),
            "report": self._pages,
            "doctor's results": lambda: check_results(self.settings),
            "doctor's models": lambda: check_models(self.settings),
        }

    def _scores(self) -> Any:
        titles = read_titles(self.files)
        bundle = Bundles(self.files).champion_of(layout_of(titles).name)
        return score_titles(as_learned(titles, bundle.learned_from), bundle).to_pylist()

    def _said(self, told: Callable[..., None], *words: Any) -> list[str]:
        lines: list[str] = []
        told(self.settings, *words, lines.append)
        return lines

    def _pages(self) -> list[bytes]:
        names = ["", *sorted(p.name for p in self.path.glob("report_*.png"))]
        with report_server(self.path / "report.html", self.settings) as url:
            return [_page(f"{url}/{name}") for name in names]


def _page(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=30) as page:
            content: bytes = page.read()
            return content
    except urllib.error.HTTPError as error:
        raise AtxError(error.read().decode().rstrip("\n")) from error


@pytest.fixture(scope="module")
def folder(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """One folder for all tests here, which put back what they damage."""
    data = tmp_path_factory.mktemp("damaged") / "data"
    shutil.copytree(finished.home / "data", data)
    settings = read_settings({"ATX_DATA_DIR": str(data), "ATX_HOME": str(data.parent / "h")})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Folder(replace(settings, report_port=port, data_dir=data))


@pytest.fixture(scope="module")
def well(folder: Folder) -> dict[str, Any]:
    """What every reader answers while all is well."""
    return {name: reader() for name, reader in folder.readers().items()}


@pytest.fixture
def put_back(folder: Folder) -> Iterator[None]:
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    yield
    for path, content in before.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def what_notices(folder: Folder, well: dict[str, Any], name: str) -> dict[str, str]:
    """Ask everybody; return who refused, with the line. Who answers must answer as before."""
    noticed = {}
    for reader, read in folder.readers().items():
        if reader == "scored_results" and "media" not in name and "models" not in name:
            continue  # it reads no others, and takes longer than all the rest
        try:
            found = read()
        except AtxError as error:
            line = str(error)
            assert "\n" not in line, (reader, name)
            assert any(mend in line for mend in MENDS), (reader, name, line)
            noticed[reader] = line
        else:
            if not reader.startswith("doctor"):  # which also counts what is there
                assert found == well[reader], f"{reader} answered otherwise, with {name} damaged"
    return noticed


def turned(content: bytes) -> bytes:
    """Turn one bit in the middle, where no header and no footer would tell."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def everything(data: Path) -> list[str]:
    found = (p for p in data.rglob("*") if p.is_file() and p.name != ".writer.lock")
    return sorted(str(p.relative_to(data)) for p in found)


def test_a_bit_turned_in_any_file_is_noticed_and_nobody_answers_otherwise(folder, well, put_back):
    """Tables, lists, pictures, models of folds, the pointer to the champion, and all sums."""
    names = everything(folder.path)
    assert {Path(name).suffix for name in names} == {
        ".html", ".json", ".parquet", ".png", ".sha256", ".ubj",
    }  # fmt: skip
    # All models of the folds are read by the same lines, and all pictures: of these, a few.
    for name in (*_few(names, "folds"), *_few(names, ".png"), *_few(names, "")):
        path = folder.path / name
        content = path.read_bytes()
        path.write_bytes(turned(content))
        noticed = what_notices(folder, well, name)
        assert noticed, f"nobody noticed {name}"
        assert {"doctor's results", "doctor's models"} & {*noticed}, f"not the doctor: {name}"
        path.write_bytes(content)


def _few(names: list[str], kind: str) -> list[str]:
    if kind:
        return [name for name in names if kind in name][::10]
    return [name for name in names if "folds" not in name and ".png" not in name]


def test_every_model_of_a_fold_is_compared_with_its_sum(folder, put_back):
    bundle = Bundles(folder.files).champion()
    for path in sorted((bundle.folder / "folds").iterdir()):
        content = path.read_bytes()
        path.write_bytes(turned(content))
        assert not bundle.is_whole, path
        path.write_bytes(content)
    assert bundle.is_whole


@pytest.mark.parametrize(
    "name",
    [
        "media.parquet",
        "feature_encoding.json",
        "binomial_classifier_results.parquet",
        "review_queue.json",
        "report.html",
        "models/champion.json",
        "models/1/bundle.json",
        "models/1/quality.json",
        "models/1/learned_from.parquet",
        "models/1/model.ubj",
        ".media.parquet.sha256",
        "models/1/.bundle.json.sha256",
    ],
)
@pytest.mark.parametrize("damage", ["emptied", "cut in half", "gone"])
def test_a_file_that_is_emptied_cut_or_gone_is_noticed(damage, name, folder, well, put_back):
    path = folder.path / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(b"" if damage == "emptied" else content[: len(content) // 2])
    asked, noticed = folder.readers(), {}
    for reader in _who_reads(name):
        try:
            assert asked[reader]() == well[reader]
        except AtxError as error:
            noticed[reader] = str(error)
    if damage == "gone" and path.name.endswith(".sha256"):
        assert noticed == {}  # as an earlier release left it, or a person
    else:
        assert {*noticed} == {*_who_reads(name)}
        for line in noticed.values():
            assert "\n" not in line
            assert any(mend in line for mend in MENDS), line


def _who_reads(name: str) -> tuple[str, ...]:
    """Name the readers that must notice."""
    if name.startswith("models/1/learned_from"):
        return ("scored_results", "atx explain", "doctor's models")
    if name.startswith("models/1/quality"):
        return ("scored_results", "doctor's models")
    if name == "models/champion.json":  # what was scored is explained by the version that did it
        return ("scored_results", "atx score", "doctor's models")
    if name.startswith("models/"):
        return ("scored_results", "atx score", "atx explain", "doctor's models")
    return {
        "media.parquet": ("raw_media",),
        "titles.parquet": ("titles", "scored_results", "atx explain"),
        ".media.parquet.sha256": ("raw_media",),
        "feature_encoding.json": ("training",),
        "binomial_classifier_results.parquet": ("atx explain",),
        "review_queue.json": ("atx show queue", "atx show recommendations"),
        "report.html": ("report",),
    }[name]


def test_a_rebuild_mends_whatever_is_damaged_but_the_champion(copied):
    """All at once. Kept out: a version promoted unseen in the place of a damaged champion."""
    settings = read_settings({"ATX_DATA_DIR": str(copied.home / "data"), "ATX_HOME": "/nowhere"})
    broken = ["media.parquet", "feature_encoding.json", "binomial_classifier.ubj", "report.html"]
    broken += ["binomial_classifier_training_data.parquet", "grid_search_results.parquet"]
    broken += ["binomial_classifier_results.parquet", "review_queue.json", "false_positives.json"]
    broken += ["report_roc.png", ".false_negatives.json.sha256", "titles.parquet"]
    model = settings.data_dir / "models" / "1" / "folds" / "seed2_fold1.ubj"
    content = model.read_bytes()
    for path in (model, *(settings.data_dir / name for name in broken)):
        path.write_bytes(turned(path.read_bytes()))
    stopped = copied.run("full_rebuild", ATX_SEARCH="off", ATX_MLFLOW="off")
    assert not stopped.success
    assert "version 1, the champion, is not as it was saved, so a new version" in failure(stopped)
    assert Bundles(copied.files).versions() == [1]
    model.write_bytes(content)
    assert copied.run("full_rebuild", ATX_SEARCH="off", ATX_MLFLOW="off").success
    assert "all readable" in check_results(settings)
    assert "scores" in check_models(settings)


def test_a_damaged_pointer_to_the_champion_is_mended_by_a_promotion(folder, well, put_back):
    pointer = folder.path / "models" / "champion.json"
    pointer.write_bytes(turned(pointer.read_bytes()))
    lines: list[str] = []
    promote(replace(folder.settings, mlflow_on=False), 1, lines.append)
    assert lines[0].startswith("version 1 is champion")
    assert folder.readers()["atx score"]() == well["atx score"]


# -- another release of XGBoost, which reads the file and answers otherwise


def by_another_xgboost(bundle: Path, *, model: bytes | None) -> None:
    """Put down that another release made a version, and what it made, with the sums of that."""
    about = json.loads((bundle / "bundle.json").read_text())
    about["answers"]["xgboost"] = "2.1.4"
    if model is not None:
        (bundle / "model.ubj").write_bytes(model)
        about["files"]["model.ubj"] = hashlib.sha256(model).hexdigest()
    (bundle / "bundle.json").write_text(as_json(about))
    sums_of(bundle / "bundle.json").unlink()


def test_a_model_that_another_xgboost_reads_otherwise_is_never_asked(folder, well, put_back):
    """Kept out: XGBoost 2.1 reads a model of 3.2, says nothing, and each probability is another."""
    bundle = folder.path / "models" / "1"
    booster = xgb.Booster(model_file=bundle / "model.ubj")
    inside = json.loads(bytes(booster.save_raw("json")))
    inside["learner"]["learner_model_param"]["base_score"] = "[5E-1]"
    inside["version"] = [2, 1, 4]
    other = xgb.Booster(model_file=bytearray(json.dumps(inside).encode()))
    by_another_xgboost(bundle, model=bytes(other.save_raw("ubj")))
    for reader in ("scored_results", "atx score", "doctor's models"):
        with pytest.raises(AtxError) as refused:
            folder.readers()[reader]()
        if reader != "doctor's models":
            assert "was made with XGBoost 2.1.4, but XGBoost" in str(refused.value)
        assert "run full_rebuild" in str(refused.value)


def test_a_model_that_another_xgboost_reads_alike_is_used(folder, well, put_back):
    """Tried with 2.1.4 and 3.0.5, whose models 3.2 reads to the last bit."""
    by_another_xgboost(folder.path / "models" / "1", model=None)
    assert folder.readers()["atx score"]() == well["atx score"]

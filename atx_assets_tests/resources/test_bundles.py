"""Bundles: saved whole, promoted in one step, the last ten kept, checked when read."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from atx_assets.errors import AtxError
from atx_assets.learning.evaluation import out_of_fold
from atx_assets.learning.features import fit_encoding
from atx_assets.learning.models import fit, predict
from atx_assets.resources import bundles
from atx_assets.resources.bundle import NewBundle
from atx_assets.resources.bundles import Bundles
from atx_assets.resources.files import DataFiles

RECIPE = {"max_depth": 2, "n_estimators": 3, "learning_rate": 0.3}


def bundle(seed: int = 0) -> NewBundle:
    """A small bundle, another one for each seed."""
    random = np.random.default_rng(seed)
    titles = pa.table(
        {"metascore": pa.array(random.integers(0, 100, 60)), "imdb_rating": random.random(60)}
    )
    encoding = fit_encoding(
        titles,
        layout="media",
        numeric=["metascore"],
        categorical=[],
        zero_is_unknown=frozenset(),
        all_ratings=titles["imdb_rating"],
        least_titles={},
    )
    matrix = encoding.matrix(titles)
    labels = (random.random(60) < 0.5).astype(int)
    held_out = out_of_fold(matrix, labels, RECIPE)
    return NewBundle(
        model=fit(matrix, labels, RECIPE),
        fold_models=held_out.models,
        encoding=encoding,
        learned_from=pa.table({"key": [str(n) for n in range(60)], "label": labels}),
        about={"hyperparameters": RECIPE, "threshold": 0.5},
    )


@pytest.fixture
def files(tmp_path) -> DataFiles:
    return DataFiles(directory=str(tmp_path / "data"))


def test_what_is_promoted_is_what_is_read(files):
    new = bundle()
    Bundles(files).promote(new)
    champion = Bundles(files).champion()
    matrix = np.array([[0.1], [np.nan], [0.9]], np.float32)
    assert champion.version == 1
    assert champion.encoding == new.encoding
    assert np.array_equal(predict(champion.model, matrix), predict(new.model, matrix))
    for seed in range(5):
        for fold in range(5):
            assert np.array_equal(
                predict(champion.fold_model(seed, fold), matrix),
                predict(new.fold_models[seed][fold], matrix),
            )


def test_an_equal_bundle_makes_no_new_version_and_changes_no_byte(files):
    def contents():
        return {p: p.read_bytes() for p in files.folder.rglob("*") if p.is_file()}

    Bundles(files).promote(bundle())
    before = contents()
    assert Bundles(files).promote(bundle()).version == 1
    assert contents() == before
    assert Bundles(files).promote(bundle(1)).version == 2


def test_the_last_ten_versions_are_kept(files, monkeypatch):
    monkeypatch.setattr(bundles, "KEPT", 2)
    for seed in range(4):
        Bundles(files).promote(bundle(seed))
    folder = files.folder / "models"
    assert sorted(p.name for p in folder.iterdir()) == ["3", "4", "champion.json"]
    with pytest.raises(AtxError, match="version 1 of the model is not in"):
        Bundles(files).version(1)


@pytest.mark.slow
def test_a_promotion_that_is_killed_leaves_the_champion(files):
    """At every step of it: kept out: a champion of which half is the old version."""
    Bundles(files).promote(bundle())
    code = (
        "import sys, os, pathlib; sys.path.insert(0, sys.argv[2]);"
        "from test_bundles import bundle;"
        "from atx_assets.resources.bundles import Bundles;"
        "from atx_assets.resources.files import DataFiles;"
        "new, left = bundle(1), [int(sys.argv[3])]\n"
        "def count(event, args):\n"
        "    if event in ('open', 'os.rename', 'os.mkdir') and 'models' in str(args[0]):\n"
        "        left[0] -= 1\n"
        "        if left[0] == 0: os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(count)\n"
        "Bundles(DataFiles(directory=sys.argv[1])).promote(new)\n"
    )
    here = str(__import__("pathlib").Path(__file__).parent)
    killed = 0
    for steps in (1, 5, 15, 31, 50):
        done = subprocess.run(
            [sys.executable, "-c", code, str(files.folder), here, str(steps)], check=False
        )
        killed += done.returncode == -9
        champion = Bundles(files).champion()
        if champion.version == 1:
            assert champion.threshold == 0.5
        # Whatever the moment, each file of the champion is the one that its bundle was saved with.
        for seed in range(5):
            for fold in range(5):
                champion.fold_model(seed, fold)
        assert champion.model.num_features() == 1
    assert killed >= 3
    final = Bundles(files).promote(bundle(2))
    assert Bundles(files).champion().version == final.version
    left = [p.name for p in (files.folder / "models").iterdir() if p.name.startswith(".new")]
    assert left == []


def test_a_changed_file_of_a_bundle_is_not_read(files):
    champion = Bundles(files).promote(bundle())
    path = champion.folder / "feature_encoding.json"
    data = json.loads(path.read_text())
    data["numeric"][0]["maximum"] += 1
    path.write_text(json.dumps(data))
    with pytest.raises(AtxError, match=r"feature_encoding\.json is not the file that was saved"):
        _ = Bundles(files).champion().encoding


@pytest.mark.parametrize("damage", ["cut the model", "empty bundle.json", "no folder", "pointer"])
def test_training_again_mends_a_damaged_champion(files, damage):
    """Kept out: a line that says "run full_rebuild", and a full_rebuild that keeps the damage."""
    folder = Bundles(files).promote(bundle()).folder
    if damage == "cut the model":
        (folder / "model.ubj").write_bytes(b"half")
    elif damage == "empty bundle.json":
        (folder / "bundle.json").write_text("")
    elif damage == "no folder":
        shutil.rmtree(folder)
    else:
        (folder.parent / "champion.json").write_text("")
    mended = Bundles(files).promote(bundle())
    assert mended.is_whole
    assert Bundles(files).champion().version == mended.version
    assert files.path("tuned_classifier").read_bytes() == (mended.folder / "model.ubj").read_bytes()


def test_the_copy_of_the_model_follows_the_champion(files):
    """Kept out: after a kill between pointer and copy, the old model beside the new champion."""
    Bundles(files).promote(bundle())
    old = files.path("tuned_classifier").read_bytes()
    new = Bundles(files).promote(bundle(1))
    files.path("tuned_classifier").write_bytes(old)
    Bundles(files).copy_champion()
    assert files.path("tuned_classifier").read_bytes() == (new.folder / "model.ubj").read_bytes()


def test_no_champion_says_what_to_run(files):
    with pytest.raises(AtxError, match=r"no model has been trained yet: run full_rebuild"):
        Bundles(files).champion()

"""Bundles: saved whole, promoted in one step and rolled back, the last kept, checked when read."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from atx_assets.defs.resources.files import DataFiles
from atx_assets.errors import AtxError
from atx_assets.learning.evaluation import out_of_fold
from atx_assets.learning.features import BY_CASE, fit_encoding
from atx_assets.learning.models import fit, predict
from atx_assets.models import bundles
from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import KEPT, Bundles, Place
from atx_assets.models.new_bundle import NewBundle
from atx_assets.storage.checksums import sums_of

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


def trained(files: DataFiles, seed: int = 0) -> Bundle:
    """A bundle that is kept and promoted, as training does it."""
    bundles = Bundles(files)
    kept = bundles.keep(bundle(seed))
    bundles.promote(kept)
    return kept


def names(folder: Path) -> list[str]:
    """What lies in a folder, without the hidden sums beside it."""
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".sha256"))


def as_earlier(path: Path, text: str) -> None:
    """Write a file as an earlier atx did, or a person: without its sum."""
    path.write_text(text)
    sums_of(path).unlink()


def contents(files: DataFiles) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in files.folder.rglob("*") if p.is_file()}


# -- keeping


def test_what_is_promoted_is_what_is_read(files):
    new = bundle()
    Bundles(files).promote(Bundles(files).keep(new))
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


def test_what_is_kept_is_not_the_champion_for_that(files):
    champion = trained(files)
    copy = files.path("tuned_classifier").read_bytes()
    kept = Bundles(files).keep(bundle(1))
    assert (kept.version, kept.is_whole) == (2, True)
    assert Bundles(files).place() == Place(1)
    assert Bundles(files).champion() == champion
    assert files.path("tuned_classifier").read_bytes() == copy


def test_the_first_one_that_is_kept_makes_no_champion(files):
    Bundles(files).keep(bundle())
    with pytest.raises(AtxError, match=r"champion\.json is missing: `atx promote VERSION` writes"):
        Bundles(files).champion()


def test_an_equal_bundle_makes_no_new_version_and_changes_no_byte(files):
    trained(files)
    before = contents(files)
    assert trained(files).version == 1
    assert contents(files) == before
    assert trained(files, 1).version == 2


def test_an_equal_bundle_is_known_among_all_that_are_kept(files):
    """Kept out: labels put back to a former state that make the same model a third time."""
    first, second = trained(files), trained(files, 1)
    before = contents(files)
    assert Bundles(files).keep(bundle()) == first
    assert Bundles(files).keep(bundle(1)) == second
    assert contents(files) == before


@pytest.mark.parametrize("about", [{"threshold": 0.4}, {"operating_point": "recall>=0.9"}])
def test_another_record_of_the_same_model_is_another_version(files, about):
    trained(files)
    other = replace(bundle(), about=bundle().about | about)
    assert Bundles(files).keep(other).version == 2


def test_an_equal_one_that_is_damaged_is_saved_anew_beside_it(files):
    folder = trained(files).folder
    (folder / "folds" / "seed3_fold1.ubj").write_bytes(b"half")
    mended = Bundles(files).keep(bundle())
    assert (mended.version, mended.is_whole) == (2, True)
    assert Bundles(files).keep(bundle()).version == 2
    assert (folder / "folds" / "seed3_fold1.ubj").read_bytes() == b"half"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused(files, number):
    """Kept out: a bundle.json with NaN in it, which strict readers of JSON do not take."""
    trained(files)
    new = replace(bundle(1), about=bundle().about | {"quality": {"pr_auc": number}})
    with pytest.raises(ValueError, match="JSON"):
        Bundles(files).keep(new)
    assert Bundles(files).versions() == [1]
    with pytest.raises(ValueError, match="JSON"):
        Bundles(files).judge(Bundles(files).champion(), {"promoted": True, "p_worse": number})
    assert Bundles(files).champion().judged == {}
    # What the failed one left half-made goes with the next.
    trained(files, 2)
    assert names(Bundles(files).folder) == ["1", "2", "champion.json"]


# -- who is champion


def test_the_champions_before_are_known_the_last_first(files):
    for seed in range(3):
        trained(files, seed)
    assert Bundles(files).place() == Place(3, (2, 1))
    trained(files, 1)
    assert Bundles(files).place() == Place(2, (3, 1))
    trained(files, 1)
    assert Bundles(files).place() == Place(2, (3, 1))


def test_what_a_person_replaces_is_declined_until_training_puts_another_in_its_place(files):
    bundles = Bundles(files)
    first, _ = trained(files), trained(files, 1)
    bundles.promote(first, by_hand=True)
    assert bundles.place() == Place(1, (2,), declined=(2,))
    assert Bundles(files).place() == bundles.place()
    trained(files, 2)
    assert bundles.place() == Place(3, (1, 2))


def test_only_the_champion_that_a_person_replaces_is_declined(files):
    """Kept out: training that never promotes again what no person took out of the place."""
    first, *_ = (trained(files, seed) for seed in range(3))
    Bundles(files).promote(first, by_hand=True)
    assert Bundles(files).place() == Place(1, (3, 2), declined=(3,))


def test_a_rollback_goes_back_one_champion_at_a_time(files):
    bundles = Bundles(files)
    models = [(trained(files, n).folder / "model.ubj").read_bytes() for n in range(3)]
    assert bundles.roll_back().version == 2
    assert bundles.place() == Place(2, (1,), declined=(3,))
    assert files.path("tuned_classifier").read_bytes() == models[1]
    assert bundles.roll_back().version == 1
    assert bundles.place() == Place(1, (), declined=(2, 3))
    assert files.path("tuned_classifier").read_bytes() == models[0]
    assert bundles.versions() == [1, 2, 3]


def test_whoever_promotes_the_version_trained_last_has_training_go_on(files):
    bundles = Bundles(files)
    versions = [trained(files, seed) for seed in range(3)]
    bundles.roll_back()
    bundles.roll_back()
    assert [bundle.version for bundle in bundles.declined()] == [2, 3]
    bundles.promote(versions[1], by_hand=True)  # not the last: the third one stays declined
    assert [bundle.version for bundle in bundles.declined()] == [1, 3]
    bundles.promote(versions[2], by_hand=True)
    assert Bundles(files).place() == Place(3, (2, 1), declined=(1, 2), lifted=True)
    assert Bundles(files).declined() == []
    last = bundles.keep(bundle(3))
    bundles.challenge(last)
    bundles.promote(last, by_hand=True)
    assert bundles.place().lifted
    bundles.promote(versions[2], by_hand=True)  # back again
    assert [bundle.version for bundle in bundles.declined()] == [1, 2, 4]


def test_what_a_person_declined_is_kept_however_many_versions_come(files):
    """Kept out: ten nights later nobody can tell any more which labels were declined."""
    bundles = Bundles(files)
    for seed in range(2):
        trained(files, seed)
    bundles.roll_back()
    for seed in range(2, 2 + 2 * KEPT):
        bundles.challenge(bundles.keep(bundle(seed)))
        bundles.prune()
    assert bundles.versions()[:2] == [1, 2]
    assert [bundle.version for bundle in bundles.declined()] == [2]


def test_a_rollback_where_no_champion_before_is_kept_is_one_line_and_changes_nothing(files):
    trained(files)
    Bundles(files).keep(bundle(1))
    before = contents(files)
    with pytest.raises(AtxError) as failure:
        Bundles(files).roll_back()
    line = str(failure.value)
    assert line.startswith("version 1 is the champion, and no earlier champion is kept")
    assert "`atx promote VERSION` takes any version" in line
    assert "(1, 2)" in line
    assert "\n" not in line
    assert contents(files) == before


def test_a_rollback_passes_over_a_champion_that_is_gone(files):
    for seed in range(3):
        trained(files, seed)
    shutil.rmtree(Bundles(files).folder / "2")
    assert Bundles(files).roll_back().version == 1
    assert Bundles(files).place() == Place(1, (), declined=(3,))


def test_a_place_written_by_hand_is_read(files):
    trained(files)
    trained(files, 1)
    as_earlier(Bundles(files).folder / "champion.json", '{"version": 1}')
    assert Bundles(files).place() == Place(1)
    assert Bundles(files).champion().version == 1
    trained(files, 2)
    assert Bundles(files).place() == Place(3, (1,))


def test_the_challenger_is_the_last_one_that_did_not_become_champion(files):
    bundles = Bundles(files)
    trained(files)
    assert bundles.challenger() is None
    second = bundles.keep(bundle(1))
    bundles.challenge(second)
    assert bundles.challenger() == second
    bundles.promote(second)
    assert bundles.challenger() is None
    third = bundles.keep(bundle(2))
    bundles.challenge(third)
    # The champion was trained again: what came between is of labels that are gone.
    bundles.promote(second)
    assert bundles.challenger() is None


def test_how_a_version_was_judged_does_not_make_it_another_one(files):
    """Kept out: an equal model that is saved again since the old one has been judged."""
    kept = trained(files)
    digest = kept.digest
    Bundles(files).judge(kept, {"promoted": True, "reason": "not worse"})
    assert Bundles(files).champion().digest == digest
    assert Bundles(files).champion().is_whole
    assert Bundles(files).keep(bundle()).version == 1


# -- which versions are kept


def test_the_last_ten_versions_are_kept(files, monkeypatch):
    monkeypatch.setattr(bundles, "KEPT", 2)
    for seed in range(4):
        trained(files, seed)
        Bundles(files).prune()
    folder = files.folder / "models"
    assert names(folder) == ["3", "4", "champion.json"]
    with pytest.raises(AtxError, match="version 1 of the model is not in"):
        Bundles(files).version(1)


@pytest.mark.slow
def test_champion_and_the_one_before_outlive_ten_challengers(files):
    one = Bundles(files)
    trained(files)
    trained(files, 1)
    for seed in range(2, 14):
        one.challenge(one.keep(bundle(seed)))
        one.prune()
    assert one.versions() == [1, 2, *range(5, 15)]
    assert one.champion().is_whole
    assert one.challenger().version == 14
    assert one.roll_back().version == 1
    assert one.champion().is_whole


# -- what a killed process, an earlier atx, or somebody else has left


@pytest.mark.slow
def test_a_process_killed_between_keeping_and_promoting_leaves_the_champion(files):
    trained(files)
    copy = files.path("tuned_classifier").read_bytes()
    code = (
        "import sys, os; sys.path.insert(0, sys.argv[2]);"
        "from test_bundles import bundle;"
        "from atx_assets.models.bundles import Bundles;"
        "from atx_assets.defs.resources.files import DataFiles;"
        "Bundles(DataFiles(directory=sys.argv[1])).keep(bundle(1));"
        "os.kill(os.getpid(), 9)"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(files.folder), here]
    assert subprocess.run(command, check=False).returncode == -9
    assert Bundles(files).place() == Place(1)
    assert Bundles(files).version(2).is_whole
    assert files.path("tuned_classifier").read_bytes() == copy
    # The next training finds its model there, and takes up where the killed one ended.
    assert trained(files, 1).version == 2
    assert Bundles(files).place() == Place(2, (1,))


def test_a_bundle_of_an_earlier_atx_says_to_run_full_rebuild(files):
    folder = trained(files).folder
    about = json.loads((folder / "bundle.json").read_text())
    del about["format"]
    as_earlier(folder / "bundle.json", json.dumps(about))
    champion = Bundles(files).champion()
    for part in ("threshold", "encoding", "model", "learned_from"):
        with pytest.raises(AtxError) as failure:
            getattr(champion, part)
        assert str(failure.value) == (
            "version 1 of the model was made by an earlier atx: run full_rebuild"
        )
    assert not champion.is_whole
    assert Bundles(files).champion_to_meet("media") is None
    assert trained(files).version == 2
    assert Bundles(files).champion_to_meet("media").version == 2


def test_what_an_earlier_release_learned_from_is_known_by_the_keys_of_now(files):
    """Kept out: after an upgrade, the champion asked about a film whose label it saw."""
    old = ["tt0000001", "ame\u0301lie|2001", "amélie|2001", "\ufeffthe  thing|1982"]
    rows = {"key": old, "named": ["a|1", *old[1:]], "label": [1, 0, 1, 0]}
    new = bundle(0)
    earlier = replace(new.encoding, text_form=BY_CASE)
    kept = Bundles(files).keep(replace(new, encoding=earlier, learned_from=pa.table(rows)))
    assert kept.learned_from["key"].to_pylist() == ["tt0000001", "amélie|2001", "the thing|1982"]
    assert kept.learned_from["named"].to_pylist() == ["a|1", "amélie|2001", "the thing|1982"]
    assert kept.learned_from["label"].to_pylist() == [1, 0, 0]


def test_a_champion_of_the_other_layout_is_none_to_compare_with(files):
    assert Bundles(files).champion_to_meet("media") is None
    champion = trained(files)
    assert Bundles(files).champion_to_meet("media") == champion
    assert Bundles(files).champion_to_meet("training") is None


def test_a_champion_that_cannot_be_read_is_not_taken_for_none(files):
    """Kept out: the next version promoted unseen, as "the first model", beside a damaged one."""
    champion = trained(files)
    model = champion.folder / "folds" / "seed0_fold0.ubj"
    content = model.read_bytes()
    model.unlink()
    with pytest.raises(AtxError, match="version 1, the champion, is not as it was saved, so a new"):
        Bundles(files).champion_to_meet("media")
    model.write_bytes(content)
    pointer = champion.folder.parent / "champion.json"
    before = pointer.read_bytes()
    pointer.write_text("")
    with pytest.raises(AtxError, match="is damaged: `atx promote VERSION` writes it again"):
        Bundles(files).champion_to_meet("media")
    pointer.write_bytes(before)
    champion.folder.rename(champion.folder.with_name("away"))
    with pytest.raises(AtxError, match="version 1, the champion, is gone"):
        Bundles(files).champion_to_meet("media")


@pytest.mark.slow
def test_a_promotion_that_is_killed_leaves_the_champion(files):
    """At every step of it: kept out: a champion of which half is the old version."""
    trained(files)
    code = (
        "import sys, os, pathlib; sys.path.insert(0, sys.argv[2]);"
        "from test_bundles import bundle;"
        "from atx_assets.models.bundles import Bundles;"
        "from atx_assets.defs.resources.files import DataFiles;"
        "new, left = bundle(1), [int(sys.argv[3])];"
        "bundles = Bundles(DataFiles(directory=sys.argv[1]))\n"
        "def count(event, args):\n"
        "    if event in ('open', 'os.rename', 'os.mkdir') and 'models' in str(args[0]):\n"
        "        left[0] -= 1\n"
        "        if left[0] == 0: os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(count)\n"
        "bundles.promote(bundles.keep(new))\n"
    )
    here = str(Path(__file__).parent)
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
    final = trained(files, 2)
    assert Bundles(files).champion().version == final.version
    left = [p.name for p in (files.folder / "models").iterdir() if p.name.startswith(".new")]
    assert left == []


@pytest.mark.slow
def test_reading_what_was_learned_from_leaves_no_thread_behind(files):
    """One that lets go of Python's bytes while the program ends aborts it, now and then."""
    trained(files)
    code = (
        "import sys, psutil, numpy, pyarrow.parquet\n"
        "from atx_assets.models.bundles import Bundles\n"
        "from atx_assets.defs.resources.files import DataFiles\n"
        "champion = Bundles(DataFiles(directory=sys.argv[1])).champion()\n"
        "before = psutil.Process().num_threads()\n"
        "rows = champion.learned_from.num_rows\n"
        "print(rows, psutil.Process().num_threads() - before)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, str(files.folder)], check=True, capture_output=True, text=True
    )
    assert told.stdout == "60 0\n"


def test_a_changed_file_of_a_bundle_is_not_read(files):
    champion = trained(files)
    path = champion.folder / "feature_encoding.json"
    data = json.loads(path.read_text())
    data["numeric"][0]["maximum"] += 1
    path.write_text(json.dumps(data))
    with pytest.raises(AtxError, match=r"feature_encoding\.json is not the file that was saved"):
        _ = Bundles(files).champion().encoding


@pytest.mark.parametrize(
    "damage", ["cut the model", "empty bundle.json", "no text", "no folder", "pointer"]
)
def test_training_again_mends_a_damaged_champion(files, damage):
    """Kept out: a line that says "run full_rebuild", and a full_rebuild that keeps the damage."""
    folder = trained(files).folder
    if damage == "cut the model":
        (folder / "model.ubj").write_bytes(b"half")
    elif damage == "empty bundle.json":
        (folder / "bundle.json").write_text("")
    elif damage == "no text":
        (folder / "bundle.json").write_bytes(b"\xff\xfe\x00")
    elif damage == "no folder":
        shutil.rmtree(folder)
    else:
        (folder.parent / "champion.json").write_text("")
    mended = trained(files)
    assert mended.is_whole
    assert Bundles(files).champion().version == mended.version
    assert files.path("tuned_classifier").read_bytes() == (mended.folder / "model.ubj").read_bytes()


def test_the_copy_of_the_model_follows_the_champion(files):
    """Kept out: after a kill between pointer and copy, the old model beside the new champion."""
    trained(files)
    old = files.path("tuned_classifier").read_bytes()
    new = trained(files, 1)
    files.path("tuned_classifier").write_bytes(old)
    Bundles(files).copy_champion()
    assert files.path("tuned_classifier").read_bytes() == (new.folder / "model.ubj").read_bytes()


@pytest.mark.parametrize(
    ("kept", "words"), [(2, "versions kept: 1, 2"), (0, "versions kept: none")]
)
def test_a_damaged_pointer_names_the_versions_to_choose_from(files, kept, words):
    for seed in range(2):
        trained(files, seed)
    pointer = Bundles(files).folder / "champion.json"
    pointer.write_text("")
    for version in (1, 2)[kept:]:
        shutil.rmtree(pointer.parent / str(version))
    with pytest.raises(AtxError, match=rf"is damaged: `atx promote VERSION` .*; {words}$"):
        Bundles(files).champion()


def test_no_champion_says_what_to_run(files):
    with pytest.raises(AtxError, match=r"no model has been trained yet: run full_rebuild"):
        Bundles(files).champion()

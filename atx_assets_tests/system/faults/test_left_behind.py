"""What an older crash has left in the data folder: half files, empty ones, half a version."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg

from atx_assets.defs.resources.current_settings import given_settings
from atx_assets.defs.schedules import nightly_request
from atx_assets.models.bundles import Bundles
from atx_assets.storage.checksums import is_damaged
from atx_assets.storage.data_folder import FILES
from atx_assets_tests.builders.failures import failure


def cut(path: Path, share: float = 0.5) -> None:
    """Leave the first part of a file, as a disk does that lost the rest; its sum stays."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_a_whole_run_mends_every_file_and_sweeps_what_was_left(copied: Any) -> None:
    folder: Path = copied.home / "data"
    bundles = Bundles(copied.files)
    version = bundles.champion().version
    before = copied.contents()
    half = bundles.folder / str(version + 1)  # half a version, under a name of its own
    half.mkdir()
    shutil.copy(bundles.champion().folder / "model.ubj", half)
    cut(half / "model.ubj")
    (bundles.folder / ".new-killed" / "folds").mkdir(parents=True)
    (bundles.folder / ".champion.json.new").write_text("{")
    for name in FILES.values():
        (folder / f".{name}.new").write_bytes(b"PAR1")
        (folder / f".{name}.sha256.new").write_bytes(b"12")
        cut(folder / name, 0 if name.endswith(".json") else 0.5)
    (folder / ".report_of_an_older_release.png.new").write_bytes(b"x")
    (folder / ".of-somebody-else.new").write_text("")
    result = copied.run("full_rebuild", ATX_SEARCH="off")
    assert result.success
    left = [p.name for p in folder.rglob("*") if ".new" in p.name]
    assert left == [".of-somebody-else.new"]
    after = copied.contents()
    assert not [name for name in after if is_damaged(folder / name)]
    assert after["media.parquet"] == before["media.parquet"]
    assert after["feature_encoding.json"] == before["feature_encoding.json"]
    champion = Bundles(copied.files).champion()
    assert champion.is_whole
    assert after["binomial_classifier.ubj"] == (champion.folder / "model.ubj").read_bytes()
    for name in ("false_positives.json", "false_negatives.json", "review_queue.json"):
        assert json.loads(after[name])


def test_half_a_search_fails_training_with_one_line_and_the_lists_stay(copied: Any) -> None:
    path = copied.files.path("hyperparameters")
    cut(path)
    listed = copied.files.path("false_positives").read_bytes()
    result = copied.run("refresh")
    assert not result.success
    assert failure(result).endswith(
        f"{path} is damaged: materialise hyperparameters again"
        " (`atx run --select key:hyperparameters`)"
    )
    assert copied.files.path("false_positives").read_bytes() == listed


def test_an_empty_pointer_to_the_champion_names_the_mend_and_the_night_mends_it(
    copied: Any,
) -> None:
    bundles = Bundles(copied.files)
    (bundles.folder / "champion.json").write_text("")
    result = copied.run("score")
    assert not result.success
    assert "champion.json is damaged: `atx promote VERSION` writes it again" in failure(result)
    with copied.instance() as instance:
        given = given_settings(copied.settings())
        asked = nightly_request(dg.build_schedule_context(instance), given)
    assert asked.asset_selection is None  # all of it is made, and training writes it anew

"""A missing record, or an empty data folder, is no first run: what is left of either is asked."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from atx_assets.automation.held import Held, held_before
from atx_assets.automation.losses import GONE, LOST
from atx_assets.automation.results import READ, TRAINED, Made
from atx_assets.commands.doctor.doctor import _checks
from atx_assets.commands.doctor.records import check_labels
from atx_assets.defs.resources.current_settings import given_settings
from atx_assets.defs.schedules import nightly_request
from atx_assets.errors import AtxError
from atx_assets.models.integrity import check_models
from atx_assets.settings import read_settings
from atx_assets.sources.read.fingerprints import Fingerprints
from atx_assets.storage.data_folder import DataFolder

pytestmark = pytest.mark.slow

NIGHT = {"dagster/schedule_name": "nightly"}
EVERY = (*READ, TRAINED)
_LOSE = (
    "UPDATE atp.media SET rejection_status = 'unfiltered', rejection_reason = NULL"
    " WHERE right(hash, 1) < 'c'"
)


def records(names: tuple[str, ...], **told: str) -> Any:
    made = {name: Made(1, "run", 1.0, {f"atx/{k}": v for k, v in told.items()}) for name in names}
    return made.get


# -- what is known


@pytest.fixture
def data(copied: Any) -> DataFolder:
    """A data folder with results."""
    return DataFolder(copied.home / "data")


def counts(held: Held) -> tuple[set[int], set[int]]:
    first = [{int(p.split("-")[0]) for p in prints} for prints in (held.labels, held.media)]
    return first[0], first[1]


def test_whole_records_are_believed_and_no_file_is_read(tmp_path):
    """A loss that a person has let through is recorded by their run."""
    (tmp_path / "binomial_classifier_results.parquet").write_bytes(b"damaged")
    held = held_before(records(EVERY, labels="40-a", media="90-b"), tmp_path)
    assert held == Held(frozenset(["40-a"]), frozenset(["90-b"]))


@pytest.mark.parametrize("left", [EVERY[1:], EVERY[:1], ()], ids=len)
def test_what_records_do_not_say_files_do(data, left):
    held = held_before(records(left, labels="40-a", media="90-b"), data.folder)
    labels, media = counts(held)
    assert {750} <= labels <= {750, 40}
    assert {1500} <= media <= {1500, 90}
    assert not held.unknown


def test_without_the_files_the_champion_says_how_many_it_learned_from(data):
    for asset in ("scored_results", "training_table"):
        data.path(asset).unlink()
    (labels,), media = counts(held_before(records(()), data.folder))
    assert 300 < labels <= 750
    assert media == set()


def test_where_nothing_says_how_many_that_is_said(data):
    for asset in ("scored_results", "training_table"):
        data.path(asset).write_bytes(b"damaged")
    (data.folder / "models" / "1" / "bundle.json").write_text("{")
    assert held_before(records(()), data.folder) == Held(unknown=True)


def test_a_new_folder_is_a_new_one(tmp_path):
    assert held_before(records(()), tmp_path / "data") == Held()
    # Its first run has read the rows, and got no further.
    DataFolder(tmp_path).path("raw_media").write_bytes(b"rows")
    assert held_before(records(()), tmp_path) == Held()


@pytest.mark.parametrize("names", [EVERY, EVERY[:1]], ids=len)
def test_an_empty_folder_is_no_new_one_where_results_are_recorded(tmp_path, names):
    (tmp_path / ".writer.lock").touch()
    held = held_before(records(names, labels="40-a"), tmp_path)
    assert held.gone.startswith(f"the data are gone from {tmp_path}: mount their disk, or set ATX_")


def test_a_folder_that_cannot_be_read_is_neither_empty_nor_new(tmp_path):
    """Kept out: a traceback in each tick, or an unreadable disk read as a first run."""
    folder = tmp_path / ("x" * 300)
    held = held_before(records(EVERY[:1], labels="40-a"), folder)
    assert held.gone.startswith(f"the data folder {folder} cannot be read: ")
    assert held_before(records(()), folder) == Held(unknown=True)


# -- labels


@pytest.fixture(params=["an asset wiped", "runs deleted", "no record left"])
def forgetful(request: pytest.FixtureRequest, living: Any) -> Iterator[Any]:
    """A library most of whose labels are gone, as are records of Dagster's."""
    living.connection.execute(_LOSE)
    if request.param == "an asset wiped":
        living.instance.wipe_assets([dg.AssetKey("analysis_report")])
    elif request.param == "runs deleted":
        for run in living.instance.get_runs():
            living.instance.delete_run(run.run_id)
    else:
        with dg.DagsterInstance.ephemeral() as empty:
            living.instance = empty
            yield living
        return
    yield living


def test_lost_labels_are_refused_where_a_record_is_missing(forgetful):
    """Kept out: the alert taken back, and a night that learned from what was left."""
    for sensor in ("label_sensor", "film_sensor"):
        assert "labels are gone at once: nothing is rebuilt" in str(forgetful.tick(sensor))
    assert list(json.loads(forgetful.alerts())) == [LOST]
    before = forgetful.place.files.path("scored_results").read_bytes()
    # The files of a run that was stopped say nothing against it: the night after is refused, too.
    for _ in range(2):
        night = forgetful.run("score", NIGHT)
        assert not night.success
        (check,) = (c for c in night.get_asset_check_evaluations() if not c.passed)
        assert check.check_name == "labels_still_there"
    assert forgetful.place.files.path("scored_results").read_bytes() == before
    assert forgetful.run("score").success


# -- the data folder


def test_data_that_are_gone_are_told_and_nothing_is_made_in_their_place(living):
    """Kept out: a disk that was not mounted, and a version 1 trained into its empty folder."""
    data = living.place.home / "data"
    data.rename(living.place.home / "elsewhere")
    data.mkdir()  # the mount point
    line = f"the data are gone from {data}: mount their disk"
    for sensor in ("label_sensor", "film_sensor"):
        assert str(living.tick(sensor)).startswith(line)
    given = given_settings(living.place.settings())
    answer = nightly_request(dg.build_schedule_context(living.instance), given)
    assert isinstance(answer, dg.SkipReason)
    assert list(json.loads(living.alerts())) == [GONE]
    night = living.run("full_rebuild", NIGHT)  # one that was asked for before
    assert not night.success
    assert [p.name for p in data.iterdir() if not p.name.startswith(".")] == []
    # What a person's run leaves that was broken off is no result.
    shutil.copy(living.place.home / "elsewhere" / "media.parquet", data)
    assert str(living.tick()).startswith(line)

    shutil.rmtree(data)
    (living.place.home / "elsewhere").rename(data)
    assert living.ticks() == "the results are up to date with 750 labels"
    assert json.loads(living.alerts()) == {}


def test_a_person_begins_anew_where_the_data_are_gone(living):
    data = living.place.home / "data"
    shutil.rmtree(data)
    assert living.place.learns(
        "full_rebuild", living.instance, ATX_MLFLOW="off", ATX_SEARCH="off"
    ).success
    assert "the data are gone" not in str(living.tick())


def test_versions_that_are_gone_are_no_new_folder(copied):
    shutil.rmtree(copied.home / "data" / "models")
    settings = read_settings(
        {"ATX_HOME": str(copied.home), "ATX_DATA_DIR": str(copied.home / "data")}
    )
    with pytest.raises(AtxError, match=r"all versions are gone from .*/models: mount their disk"):
        check_models(settings)


def test_doctor_fails_where_the_data_are_gone_and_says_not_that_none_is_made_yet(lived):
    recorded, _ = lived
    data = recorded.place.home / "data"
    data.rename(recorded.place.home / "elsewhere")
    with recorded.place.environment(DAGSTER_POSTGRES_URL=recorded.url):
        settings = read_settings()
        checks = dict(_checks(settings, empty=True, deep=False))
        with pytest.raises(AtxError, match=f"^the data are gone from {data}: mount their disk"):
            checks["data"]()
        assert not {"results", "models"} & set(checks)
        (recorded.place.home / "elsewhere").rename(data)
        assert "data" not in dict(_checks(settings, empty=False, deep=False))


def test_doctor_fails_on_lost_labels_where_a_record_is_missing(lived):
    recorded, _ = lived
    recorded.instance.wipe_assets([dg.AssetKey("analysis_report")])
    with recorded.place.environment(DAGSTER_POSTGRES_URL=recorded.url):
        settings = read_settings()
        with pytest.raises(AtxError, match=r"^650 of 750 labels are gone at once: nothing is rebu"):
            check_labels(settings, Fingerprints("100-a", "1-b", "1500-c"))
        assert check_labels(settings, Fingerprints("750-a", "1-b", "1500-c")).endswith("as before")

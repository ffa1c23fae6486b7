"""A home that was moved or copied as a folder: what MLflow keeps is with it, and nowhere else."""

import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from atx_assets.commands.doctor.mlflow import check_mlflow, prove_mlflow
from atx_assets.commands.promote import promote
from atx_assets.errors import AtxError, Note
from atx_assets.home.backup.backup import backup
from atx_assets.home.home import start_servers
from atx_assets.home.moved_home import follow_home
from atx_assets.models.mlflow_server import reach, tracking_uri
from atx_assets.settings import Settings, read_settings
from atx_assets_tests.builders.once import copy_folder

TRAINING = dg.AssetKey("tuned_classifier")


def settings_of(home: Path) -> Settings:
    return read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(home / "data")})


def files_of(home: Path) -> dict[str, int]:
    return {str(p.relative_to(home)): p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()}


def moved(place: Any, how: str) -> tuple[Path, Path]:
    """Move or copy the home as a person does; return where it was, and where it is."""
    before, now = place.home, place.home.with_name("home of 2%")
    if how == "mv":
        before.rename(now)
    else:
        copy_folder(before, now)
    return before, now


def named(home: Path) -> str:
    """All text in the store's database."""
    with closing(sqlite3.connect(home / "mlflow" / "mlflow.db")) as connection:
        return "\n".join(connection.iterdump())


@pytest.mark.parametrize("how", ["mv", "cp"])
def test_a_home_that_was_moved_or_copied_writes_into_itself(copied, how):
    """Kept out: artifacts at the old path, which was made again; or in the other home."""
    import mlflow

    before, now = moved(copied, how)
    there = files_of(before) if how == "cp" else {}
    settings = settings_of(now)
    with pytest.raises(
        AtxError, match=r"moved or copied from .*: `atx start` changes the store to"
    ):
        reach(settings)
    note = check_mlflow(settings)
    assert isinstance(note, Note)
    assert f"the home was moved or copied from {before}" in note
    assert isinstance(prove_mlflow(settings), Note)  # and makes nothing in the other one
    follow_home(settings)
    assert check_mlflow(settings) == tracking_uri(settings)
    assert str(before) + "/" not in named(now)
    with copied.environment(ATX_HOME=str(now), ATX_DATA_DIR=str(now / "data")):
        mlflow.set_tracking_uri(tracking_uri(settings))
        loaded = mlflow.xgboost.load_model("models:/atx@champion")
        assert loaded.num_features()
    result = copied.run(
        assets=[TRAINING],
        ATX_HOME=str(now),
        ATX_DATA_DIR=str(now / "data"),
        ATX_MODEL_NAME="another",
    )
    assert result.success
    assert (files_of(before) if before.exists() else {}) == there


def test_what_an_earlier_atx_wrote_to_the_old_path_comes_along(copied):
    """As a home is that was moved before atx knew of it: the newest artifacts lie elsewhere."""
    before, now = moved(copied, "mv")
    artifacts = now / "mlflow" / "artifacts"
    runs = [path for path in artifacts.iterdir() if path.name != "models"]
    models = list((artifacts / "models").iterdir())
    away = before / "mlflow" / "artifacts"
    (away / "models").mkdir(parents=True)
    for path in runs:
        shutil.move(path, away / path.name)
    for path in models:
        shutil.move(path, away / "models" / path.name)
    (away / "strange").mkdir()  # which the store does not name
    there = files_of(before)
    follow_home(settings_of(now))
    assert {path.name for path in artifacts.iterdir()} == {"models", *(p.name for p in runs)}
    assert {path.name for path in (artifacts / "models").iterdir()} == {p.name for p in models}
    assert f"{before}/" not in (next(artifacts.glob("models/*/artifacts/MLmodel"))).read_text()
    assert files_of(before) == there


def test_another_path_to_the_same_home_is_not_another_home(copied):
    link = copied.home.with_name("link")
    link.symlink_to(copied.home)
    text = named(copied.home)
    follow_home(settings_of(link))
    assert named(copied.home) == text
    assert reach(settings_of(link))


def test_a_place_of_its_own_that_somebody_gave_the_experiment_is_left(copied):
    store = copied.home / "mlflow" / "mlflow.db"
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = 's3://films/of/mine'")
    text = named(copied.home)
    follow_home(settings_of(copied.home))
    assert named(copied.home) == text


@pytest.mark.parametrize("use", ["start", "promote", "backup"])
def test_whatever_opens_a_moved_home_makes_it_whole(use, copied, monkeypatch, tmp_path):
    monkeypatch.setenv("PG_HOST", "127.0.0.1")  # no server of its own is needed
    before, now = moved(copied, "mv")
    servers = {"PG_HOST": "127.0.0.1", "DAGSTER_POSTGRES_URL": "postgresql://127.0.0.1/d"}
    settings = read_settings({"ATX_HOME": str(now), "ATX_DATA_DIR": str(now / "data"), **servers})
    if use == "start":
        start_servers(settings)
    elif use == "promote":
        with pytest.raises(AtxError, match="already the champion"):
            promote(settings, 1, lambda line: None)
    else:
        file = backup(settings, tmp_path / "b.tar.gz", lambda line: None)
        with tarfile.open(file) as tar:
            assert any("mlflow/artifacts/models" in name for name in tar.getnames())
    assert f"{before}/" not in named(now)

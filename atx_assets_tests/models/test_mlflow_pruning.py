"""What is deleted of a real MLflow store, and whom it is kept from."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from atx_assets.models import mlflow_pruning
from atx_assets.models.mlflow_pruning import PrunedModels, prune_mlflow
from atx_assets.models.mlflow_server import tracking_uri
from atx_assets.models.registry import DIGEST
from atx_assets.settings import Settings, read_settings

pytestmark = pytest.mark.slow

NAMES = (
    *("plain", "bundle", "dropped", "champion", "other_name"),
    *("dead", "alive", "nobodys", "hers", "bin", "young"),
)


class Store:
    """An embedded store with runs of every kind, each with a model and artifacts; one is young."""

    def __init__(self, home: Path) -> None:
        from mlflow import MlflowClient

        self.settings = read_settings({"ATX_HOME": str(home)})
        self.folder = home / "mlflow"
        (self.folder / "artifacts").mkdir(parents=True)
        self.client = MlflowClient(tracking_uri(self.settings))
        self.experiment = self.client.create_experiment(
            "atx", artifact_location=(self.folder / "artifacts").as_uri()
        )
        self.elsewhere = self.client.create_experiment("hers")
        for name in ("atx", "hers"):
            self.client.create_registered_model(name)
        self.runs = {name: self.add(name) for name in NAMES}
        for name in ("bundle", "dropped", "champion"):
            self.register("atx", name)
        self.register("hers", "other_name")
        self.by_hand = self.client.create_model_version("atx", "file:///hers").version
        self.client.set_registered_model_alias("atx", "champion", "3")
        self.client.delete_run(self.runs["bin"])
        self.age("start_time < 9e15 AND run_uuid <> ?", self.runs["young"])
        self.others = self.client.create_run(self.elsewhere).info.run_id
        self.age("run_uuid = ?", self.others)

    def add(self, name: str) -> str:
        tags = {} if name in ("nobodys", "hers") else {"dagster_run_id": name}
        run: str = self.client.create_run(self.experiment, tags=tags).info.run_id
        self.client.log_metric(run, "m", 1.0)
        self.learn(run, "of many")
        self.learn(run, f"of {name}")
        self.client.log_dict(run, {"much": "x" * 1000}, "quality.json")
        model = self.client.create_logged_model(self.experiment, name=name, source_run_id=run)
        place = self.folder / "artifacts" / "models" / model.model_id / "artifacts"
        place.mkdir(parents=True)
        (place / "model.ubj").write_bytes(bytes(5000))
        if name not in ("dead", "alive", "nobodys"):
            self.client.set_terminated(run)
        return run

    def learn(self, run: str, digest: str) -> None:
        """Have a run say which dataset it learned from."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset("table", digest, "code", "{}")
        taken = DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])
        self.client.log_inputs(run, [taken])

    def rows(self, query: str) -> set[str]:
        with sqlite3.connect(self.folder / "mlflow.db") as db:
            return {str(value) for (value,) in db.execute(query)}

    def register(self, model: str, name: str) -> None:
        self.client.create_model_version(
            model, f"runs:/{self.runs[name]}/m", self.runs[name], tags={DIGEST: name}
        )

    def age(self, which: str, *values: Any) -> None:
        with sqlite3.connect(self.folder / "mlflow.db") as db:
            db.execute(f"UPDATE runs SET start_time = 1000, end_time = 2000 WHERE {which}", values)

    def prune(self, settings: Settings | None = None) -> PrunedModels:
        before = datetime.now(UTC) - timedelta(days=90)
        return prune_mlflow(
            settings or self.settings, {"bundle"}, before, lambda run: run != "alive"
        )

    def names(self) -> set[str]:
        """The runs that are there, with those in MLflow's bin."""
        from mlflow.entities import ViewType

        found = {
            run.info.run_id
            for run in self.client.search_runs([self.experiment], run_view_type=ViewType.ALL)
        }
        return {name for name, run in self.runs.items() if run in found}

    def holding(self, run: str) -> list[str]:
        """The tables with a row that names a run."""
        found = []
        with sqlite3.connect(self.folder / "mlflow.db") as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
                for _, column, *_ in db.execute(f'PRAGMA table_info("{table}")').fetchall():
                    held = f'SELECT 1 FROM "{table}" WHERE CAST("{column}" AS TEXT) = ?'
                    if db.execute(held, (run,)).fetchone():
                        found.append(f"{table}.{column}")
        return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(mlflow_pruning, "KEPT", 1)
    return Store(tmp_path / "home")


def test_old_runs_go_for_good_and_those_in_use_stay(store: Store) -> None:
    gone = {"plain", "dropped", "dead", "bin"}
    models = store.folder / "artifacts" / "models"
    assert len(list(models.iterdir())) == len(NAMES)
    done = store.prune()
    assert store.names() == set(NAMES) - gone
    assert (done.runs, done.versions) == (4, 1)
    assert done.bytes > 4 * 6000
    for name in gone:
        assert store.holding(store.runs[name]) == []
        assert not (store.folder / "artifacts" / store.runs[name]).exists()
    assert len(list(models.iterdir())) == len(NAMES) - len(gone)
    for name in set(NAMES) - gone:
        assert (store.folder / "artifacts" / store.runs[name]).is_dir()
    assert store.client.get_run(store.others).info.run_id == store.others
    versions = {v.tags.get(DIGEST) for v in store.client.search_model_versions()}
    assert versions == {"bundle", "champion", "other_name", None}
    assert store.client.get_model_version_by_alias("atx", "champion").tags[DIGEST] == "champion"
    assert store.prune() == PrunedModels()


def test_datasets_go_with_the_last_run_that_learned_from_them(store: Store) -> None:
    """Kept out: a store that grows with each training, as MLflow keeps what no run has any more."""
    assert store.rows("SELECT digest FROM datasets") == {"of many", *(f"of {n}" for n in NAMES)}
    store.prune()
    left = set(NAMES) - {"plain", "dropped", "dead", "bin"}
    assert store.rows("SELECT digest FROM datasets") == {"of many", *(f"of {n}" for n in left)}
    tagged = store.rows("SELECT input_uuid FROM input_tags")
    assert tagged == store.rows("SELECT input_uuid FROM inputs WHERE source_type = 'DATASET'")
    assert len(tagged) == 2 * len(left)


def test_the_newest_runs_stay_however_old(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_pruning, "KEPT", len(NAMES))
    assert store.prune().runs == 1  # the one in MLflow's bin counts for nothing
    assert store.names() == set(NAMES) - {"bin"}


@pytest.mark.parametrize(
    "setting", [{"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": "9"}, {"ATX_MLFLOW": "off"}]
)
def test_a_server_of_another_s_and_a_store_out_of_use_are_left(
    store: Store, setting: dict[str, str]
) -> None:
    other = read_settings({"ATX_HOME": str(store.settings.home), **setting})
    assert store.prune(other) == PrunedModels()
    assert store.names() == set(NAMES)


def test_what_was_broken_off_goes_next_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_pruning._Store, "delete_run", _killed)
        with pytest.raises(KeyboardInterrupt):
            store.prune()
    assert store.names() == set(NAMES)
    assert store.prune().runs == 4
    assert store.prune() == PrunedModels()


def test_artifacts_outside_of_the_store_are_left(store: Store, tmp_path: Path) -> None:
    """Kept out: rows of a home that was moved, or of a strange client, that name another folder."""
    strange = tmp_path / "library" / "artifacts"
    strange.mkdir(parents=True)
    with sqlite3.connect(store.folder / "mlflow.db") as db:
        db.execute(
            "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?",
            (strange.as_uri(), store.runs["plain"]),
        )
    assert store.prune().runs == 4
    assert strange.is_dir()


def test_without_a_store_there_is_nothing_to_do(tmp_path: Path) -> None:
    settings = read_settings({"ATX_HOME": str(tmp_path)})
    assert prune_mlflow(settings, (), datetime.now(UTC), lambda _: True) == PrunedModels()
    assert list(tmp_path.iterdir()) == []


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt

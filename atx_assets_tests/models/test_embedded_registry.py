"""Aliases turned in the embedded store's own file, and what MLflow's client makes of the same."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from atx_assets.home.schema_upgrade import _folder_of, revisions
from atx_assets.models import embedded_registry
from atx_assets.models.embedded_registry import REVISION, mirror_embedded
from atx_assets.models.registered_model import mirror
from atx_assets.models.registry import CHALLENGER, CHAMPION, DIGEST

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embedded registry")]

NAME = "atx"


@dataclass(frozen=True)
class Model:
    """What the registry asks of a bundle."""

    digest: str
    version: int = 1


ONE, OTHER = Model("1" * 64), Model("2" * 64, version=2)


def client_of(store: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{store}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that MLflow made, with two models registered under one name and one under another."""
    store = tmp_path_factory.mktemp("store") / "mlflow.db"
    client = client_of(store)
    experiment = client.create_experiment("atx", artifact_location=store.parent.as_uri())
    for name, model in ((NAME, ONE), (NAME, OTHER), ("somebody else's", ONE)):
        if not client.search_registered_models(f'name="{name}"'):
            client.create_registered_model(name)
        run = client.create_run(experiment).info.run_id
        client.create_model_version(
            name, store.parent.as_uri(), run_id=run, tags={DIGEST: model.digest}
        )
    return store


def pointed(client: MlflowClient) -> None:
    client.set_registered_model_alias(NAME, CHAMPION, "2")


def challenged(client: MlflowClient) -> None:
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    client.set_registered_model_alias(NAME, CHALLENGER, "1")
    client.set_registered_model_alias(NAME, "a-person-s", "1")
    client.set_registered_model_alias("somebody else's", CHAMPION, "1")


def without_run(client: MlflowClient) -> None:
    pointed(client)
    client.delete_run(client.get_model_version(NAME, "1").run_id)


def without_version(client: MlflowClient) -> None:
    pointed(client)
    client.delete_model_version(NAME, "1")


def registered_again(client: MlflowClient) -> None:
    """The same model twice, of which the elder was told of something last."""
    first = client.get_model_version(NAME, "1")
    again = client.create_model_version(
        NAME, first.source, run_id=first.run_id, tags={DIGEST: ONE.digest}
    )
    assert again.version in (3, "3")
    client.update_model_version(NAME, "1", description="told later")


def with_no_model(client: MlflowClient) -> None:
    client.delete_registered_model(NAME)


def aliases(store: Path) -> set[tuple[str, str, int, str]]:
    with closing(sqlite3.connect(store)) as connection:
        return set(
            connection.execute(
                "SELECT name, alias, version, workspace FROM registered_model_aliases"
            ).fetchall()
        )


@pytest.mark.parametrize("champion", [ONE, Model("3" * 64)], ids=["registered", "unknown"])
@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        pointed,
        challenged,
        without_run,
        without_version,
        registered_again,
        with_no_model,
    ],
)
def test_the_aliases_are_those_that_mlflow_would_have_set(
    change: Callable[[MlflowClient], None], champion: Model, made: Path, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    shutil.copy(made, theirs)
    client = client_of(theirs)
    change(client)
    shutil.copy(theirs, ours)
    known = mirror(client, NAME, champion)
    assert mirror_embedded(ours, NAME, champion) is known
    assert aliases(ours) == aliases(theirs)
    # And MLflow reads what was written.
    shown = client_of(ours).search_registered_models(f"name='{NAME}'")
    wanted = client.search_registered_models(f"name='{NAME}'")
    assert [dict(model.aliases) for model in shown] == [dict(model.aliases) for model in wanted]


def test_the_tables_that_are_known_are_those_of_the_mlflow_that_is_installed() -> None:
    """Else MLflow is asked, which is right and takes seconds: see what its new tables change."""
    _, heads = revisions(_folder_of("mlflow", "store/db_migrations/versions"))
    assert heads == {REVISION}


def test_in_tables_of_another_release_nothing_is_changed_and_mlflow_is_to_be_asked(
    made: Path, tmp_path: Path
) -> None:
    store = tmp_path / "mlflow.db"
    shutil.copy(made, store)
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
    before = store.read_bytes()
    assert mirror_embedded(store, NAME, ONE) is None
    assert store.read_bytes() == before


def test_a_store_that_somebody_writes_to_for_long_is_left_to_mlflow(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_registry, "_WAIT", 0.1)
    store = tmp_path / "mlflow.db"
    shutil.copy(made, store)
    with closing(sqlite3.connect(store)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert mirror_embedded(store, NAME, ONE) is None
        other.rollback()
    assert mirror_embedded(store, NAME, ONE) is True


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
def test_a_file_that_is_no_store_is_left_to_mlflow(content: bytes, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    store.write_bytes(content)
    assert mirror_embedded(store, NAME, ONE) is None
    assert store.read_bytes() == content


def test_where_nothing_was_ever_told_to_mlflow_no_store_is_made(tmp_path: Path) -> None:
    assert mirror_embedded(tmp_path / "mlflow.db", NAME, ONE) is False
    assert list(tmp_path.iterdir()) == []

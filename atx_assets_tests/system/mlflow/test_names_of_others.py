"""Names in MLflow that are somebody else's: nothing of theirs is touched, and nobody is surprised.

The same in the embedded store and on a server: the two are asked in different ways.
"""

import re
from typing import Any

import dagster as dg
import pytest

from atx_assets.commands.doctor.mlflow import check_mlflow as doctor_line
from atx_assets.commands.promote import promote
from atx_assets.errors import AtxError
from atx_assets.models.bundles import Bundles, Place
from atx_assets.models.mlflow_server import tracking_uri
from atx_assets.models.registry import DIGEST, MODEL
from atx_assets.settings import read_settings
from atx_assets_tests.builders.failures import failure

pytestmark = pytest.mark.xdist_group("mlflow server")

SEARCH, TRAINING = dg.AssetKey("hyperparameters"), dg.AssetKey("tuned_classifier")


class Named:
    """A workplace, and the MLflow in which a name is taken."""

    def __init__(self, place: Any, name: str, settings: dict[str, str]) -> None:
        from mlflow import MlflowClient

        self.place, self.name = place, name
        self.settings = settings | {"ATX_MODEL_NAME": name}
        with place.environment(**self.settings):
            self.uri = tracking_uri(read_settings())
        self.client = MlflowClient(self.uri)
        self.experiment = self.client.create_experiment(f"of {name}")

    def add_prompt(self) -> None:
        import mlflow

        mlflow.set_tracking_uri(self.uri)
        mlflow.genai.register_prompt(self.name, "Is {{film}} any good?")

    def add_version(self, **tags: str) -> str:
        """Register a version as another program would; return its number."""
        if not self.client.search_registered_models(f"name='{self.name}'"):
            self.client.create_registered_model(self.name)
        run = self.client.create_run(self.experiment).info
        made = self.client.create_model_version(
            self.name, run.artifact_uri, run_id=run.run_id, tags=tags
        )
        return str(made.version)

    def state(self) -> Any:
        """All that MLflow holds under the name."""
        return [
            (dict(model.aliases), model.tags, model.description)
            for model in self.client.search_registered_models(f"name='{self.name}'")
        ], sorted(
            (str(v.version), v.run_id)
            for v in self.client.search_model_versions(f"name='{self.name}'")
        )

    def run(self, asset: dg.AssetKey, **settings: str) -> dg.ExecuteInProcessResult:
        return self.place.run(assets=[asset], **self.settings | settings)

    def doctor(self) -> str:
        with self.place.environment(**self.settings):
            return doctor_line(read_settings())


@pytest.fixture(params=["embedded", "server"])
def named(request: pytest.FixtureRequest, copied) -> Named:
    server = request.getfixturevalue("mlflow_server") if request.param == "server" else None
    name = re.sub(r"\W+", "_", request.node.name)
    return Named(copied, name, server.settings if server else {})


def refused(named: Named, words: str) -> None:
    """A run before its search, the training and the doctor say so, and nothing has changed."""
    before, files = named.state(), named.place.contents()
    with pytest.raises(AtxError) as found:
        named.doctor()
    line = str(found.value)
    assert words in line
    assert "ATX_MODEL_NAME" in line
    assert failure(named.run(SEARCH)) == line
    assert failure(named.run(TRAINING)) == line
    assert named.state() == before
    assert named.place.contents() == files


def test_a_prompt_of_the_models_name_is_told_before_the_search(named):
    """Kept out: "make room on the disk", at the end of each training."""
    named.add_prompt()
    refused(named, f"MLflow has a prompt named {named.name}")


def test_a_registered_model_of_another_program_is_left_alone(named):
    """Kept out: our versions in it, and its alias `champion` on one of them."""
    version = named.add_version(stage="prod")
    named.client.set_registered_model_alias(named.name, "champion", version)
    refused(named, f"the registered model {named.name} is another program's")
    # Nor does a person's promotion touch it, and it says so before anything is changed.
    with named.place.environment(**named.settings), pytest.raises(AtxError, match="another prog"):
        promote(read_settings(), 1, lambda line: None)


def test_an_alias_that_is_on_another_programs_version_stays_there(named):
    ours, theirs = named.add_version(**{DIGEST: "0" * 64}), named.add_version()
    named.client.set_registered_model_alias(named.name, "champion", theirs)
    named.client.set_registered_model_alias(named.name, "challenger", ours)
    refused(named, f"the alias champion of {named.name} is on version {theirs}")
    named.client.delete_registered_model_alias(named.name, "champion")
    assert named.doctor()


def test_a_model_that_an_earlier_atx_has_made_goes_on_and_gets_the_tag(named):
    """It is known by what its versions carry."""
    named.client.set_registered_model_alias(
        named.name, "champion", named.add_version(atx_version="7")
    )
    assert named.run(TRAINING).success
    model = named.client.get_registered_model(named.name)
    assert {alias: str(version) for alias, version in model.aliases.items()} == {"champion": "2"}
    assert model.tags == {MODEL: "films"}
    assert Bundles(named.place.files).place() == Place(1)
    assert named.doctor()


@pytest.mark.parametrize(
    "about",
    [
        {"tags": {MODEL: "films"}},
        {"description": "Whether a film is a keep, by one person's labels (atx)."},
    ],
    ids=["made by hand, for atx", "made by an earlier atx that was killed"],
)
def test_a_model_without_versions_is_ours_by_its_tag_or_its_description(named, about):
    named.client.create_registered_model(named.name, **about)
    assert named.doctor()


def test_a_model_without_versions_that_says_nothing_of_atx_is_not_ours(named):
    named.client.create_registered_model(named.name)
    refused(named, f"the registered model {named.name} is another program's")

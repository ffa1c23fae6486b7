"""MLflow's registered model: its versions, and the aliases that mirror the champion.

The bundles decide, the registry follows. Not here: the names in it (`registry.py`), where MLflow
is, and runs (`defs/resources/mlflow.py`).
"""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from atx_assets.models.bundle import Bundle
from atx_assets.models.registry import CHALLENGER, CHAMPION, DESCRIPTION, DIGEST, MODEL, VERSION


def registered(client: MlflowClient, name: str, bundle: Bundle) -> ModelVersion | None:
    """Return the registered version that holds a bundle's model, if there is one.

    One whose run was deleted in MLflow does not count: nothing can be logged to it.
    """
    for found in client.search_model_versions(f"name='{name}'"):
        if found.tags.get(DIGEST) == bundle.digest:
            try:
                if client.get_run(found.run_id).info.lifecycle_stage == "active":
                    return found
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
    return None


def register(
    client: MlflowClient,
    name: str,
    bundle: Bundle,
    *,
    run_id: str,
    model_uri: str,
    description: str,
) -> None:
    """Register a logged model as the model of a bundle."""
    model = next(iter(client.search_registered_models(f"name='{name}'")), None)
    if model is None:
        client.create_registered_model(name, tags={MODEL: "films"}, description=DESCRIPTION)
    elif MODEL not in model.tags:
        client.set_registered_model_tag(name, MODEL, "films")
    client.create_model_version(
        name,
        model_uri,
        run_id=run_id,
        tags={VERSION: str(bundle.version), DIGEST: bundle.digest},
        model_id=model_uri.rpartition("/")[2],
        description=description,
    )


def mirror(
    client: MlflowClient, name: str, champion: Bundle, challenger: Bundle | None = None
) -> bool:
    """Point the aliases at the champion, and at the model that did not replace it.

    If an alias's model is not registered (it was trained without MLflow), the alias is removed:
    none may point at another model.

    Args:
        client: of the MLflow server.
        name: of the registered model.
        champion: the version that scores.
        challenger: the version trained last, if it is another one.

    Returns:
        Whether the champion is registered.
    """
    aliases = {}
    for found in client.search_registered_models(f"name='{name}'"):
        aliases = dict(found.aliases)
    for alias, bundle in ((CHAMPION, champion), (CHALLENGER, challenger)):
        version = registered(client, name, bundle) if bundle else None
        if version is None:
            if alias in aliases:
                client.delete_registered_model_alias(name, alias)
        elif str(aliases.get(alias)) != str(version.version):
            client.set_registered_model_alias(name, alias, version.version)
    return registered(client, name, champion) is not None

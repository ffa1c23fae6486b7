"""MLflow's registered model: its versions, and the aliases that mirror who is champion.

The bundles decide, the registry follows. Not here: where MLflow is, and runs
(`defs/resources/mlflow.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from atx_assets.models.bundle import Bundle

CHAMPION, CHALLENGER = "champion", "challenger"
OUR_ALIASES = {CHAMPION, CHALLENGER}
#: Tags of a registered version: of which of our versions it is the model, and that bundle's
#: digest. Two homes may share a registry, and both have a version 1.
VERSION, DIGEST = "atx_version", "atx_bundle"
#: Tag of a registered model that is ours. Earlier releases made models without it.
MODEL = "atx_model"
DESCRIPTION = "Whether a film is a keep, by one person's labels (atx)."


@dataclass(frozen=True)
class Held:
    """What MLflow holds under the name of the registered model.

    `tagged` says whether it has our tag; `aliases` has those of `OUR_ALIASES` that are set, each
    with the number of its version and whether that is from atx.
    """

    is_prompt: bool = False
    tagged: bool = False
    description: str = ""
    has_our_versions: bool = False
    aliases: Mapping[str, tuple[str, bool]] = field(default_factory=dict)


def is_from_atx(tags: Mapping[str, str]) -> bool:
    """Say by its tags whether a registered version is from atx: of this home, or of another."""
    return DIGEST in tags or VERSION in tags


def objection(name: str, held: Held) -> str:
    """Say why the name of a registered model is not ours to use; nothing if it is.

    Without this our versions would go into another program's model, and its alias be moved.
    """
    another = "set ATX_MODEL_NAME to another name"
    if held.is_prompt:
        return f"MLflow has a prompt named {name}, and no model can have its name: {another}"
    if not (held.tagged or held.has_our_versions or held.description == DESCRIPTION):
        return (
            f"the registered model {name} is another program's, none of its versions is from atx: "
            f"{another}, or, if it is meant for atx, give it the tag {MODEL} in MLflow"
        )
    for alias, (version, from_atx) in sorted(held.aliases.items()):
        if not from_atx:
            return (
                f"the alias {alias} of {name} is on version {version}, which is not from atx: "
                f"{another}, or take the alias away in MLflow"
            )
    return ""


def registered(client: MlflowClient, name: str, bundle: Bundle) -> ModelVersion | None:
    """Return the registered version that holds a bundle's model, if there is one.

    One whose run was deleted in MLflow counts as none: there is nothing left to tell there.
    """
    from mlflow.exceptions import MlflowException

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
    """Register a logged model as that of a bundle."""
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
    """Point the aliases at the champion, and at the model that did not take its place.

    An alias whose model is not registered (it was trained without MLflow) is taken away: none
    may point at another model.

    Args:
        client: of the MLflow server.
        name: of the registered model.
        champion: the version that scores.
        challenger: the version trained last, if that is another one.

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

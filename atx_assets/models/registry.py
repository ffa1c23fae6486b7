"""The names that atx has in MLflow's registry: tags, aliases, and whether a model is ours.

Known without MLflow, whose import takes over a second. Not here: what its client is asked to do
with them (`registered_model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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

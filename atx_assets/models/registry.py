"""The names that atx uses in MLflow's registry: tags, aliases, and whether a model is ours.

Needs no MLflow, whose import takes over a second. Not here: what its client does with them
(`registered_model.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

CHAMPION, CHALLENGER = "champion", "challenger"
OUR_ALIASES = {CHAMPION, CHALLENGER}
#: Tags of a registered version: the number of our version that it holds, and that bundle's
#: digest. Two homes may share a registry, and both have a version 1.
VERSION, DIGEST = "atx_version", "atx_bundle"
#: Tag of our registered model. Earlier releases created models without it.
MODEL = "atx_model"
DESCRIPTION = "Whether a film is a keep, by one person's labels (atx)."


@dataclass(frozen=True)
class Held:
    """What MLflow holds under the name of the registered model.

    `tagged` says whether it has our tag; `aliases` has those of `OUR_ALIASES` that are set, each
    with the number of its version and whether that version is from atx.
    """

    is_prompt: bool = False
    tagged: bool = False
    description: str = ""
    has_our_versions: bool = False
    aliases: Mapping[str, tuple[str, bool]] = field(default_factory=dict)


def is_from_atx(tags: Mapping[str, str]) -> bool:
    """Return whether a registered version is from atx, by its tags: of this home or another."""
    return DIGEST in tags or VERSION in tags


def objection(name: str, held: Held) -> str:
    """Say why the name of a registered model is not ours to use; "" if it is.

    Without this check our versions would go into another program's model, and move its alias.
    """
    another = "set ATX_MODEL_NAME to another name"
    if held.is_prompt:
        return f"MLflow has a prompt named {name}, so no model can have that name: {another}"
    if not (held.tagged or held.has_our_versions or held.description == DESCRIPTION):
        return (
            f"the registered model {name} is another program's: none of its versions is from atx: "
            f"{another}, or, if it is meant for atx, give it the tag {MODEL} in MLflow"
        )
    for alias, (version, from_atx) in sorted(held.aliases.items()):
        if not from_atx:
            return (
                f"the alias {alias} of {name} is on version {version}, which is not from atx: "
                f"{another}, or remove the alias in MLflow"
            )
    return ""

"""What a server's unusable answers mean, in words, with how to fix them.

Not here: where MLflow is (`mlflow_server.py`), who asks it and how (`mlflow_login.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from atx_assets.models.registry import DIGEST, MODEL, OUR_ALIASES, VERSION, Held, is_from_atx

if TYPE_CHECKING:
    import requests

#: Asks a server for a path, with these parameters.
Ask = Callable[[str, Mapping[str, str]], "requests.Response"]

#: The first MLflow with logged models, which training needs.
_LEAST = 3
_API = "/api/2.0/mlflow/"
#: The answer of MLflow's guard against DNS rebinding to a Host that it does not know.
_OTHER_HOST = "Invalid Host header"
NO_MLFLOW = "answers, but not as MLflow does: check MLFLOW_HOST and MLFLOW_PORT"


class WrongAnswerError(Exception):
    """A server cannot be used; the text says what it does, and how to fix it."""


class LoginRefusedError(WrongAnswerError):
    """It does not accept our login."""


class NotAllowedError(LoginRefusedError):
    """It knows who we are, and does not allow what we asked."""


@dataclass(frozen=True)
class Experiment:
    """Our experiment in MLflow."""

    id: str
    deleted: bool


@dataclass(frozen=True)
class ServerState:
    """What a server says about itself and our names.

    `version` is empty if it does not say which MLflow it is; `experiment` is None before the first
    training. If the model is `hidden`, the server did not say whether it has one of that name:
    to a user without default rights, MLflow answers for every name as if somebody else had it.
    """

    version: str
    experiment: Experiment | None
    model: Held | None
    hidden: bool = False


def server_state(ask: Ask, experiment: str, model: str) -> ServerState:
    """Ask a server for its version, our experiment and the registered model.

    Its health is not asked: a server whose database is gone or full still says that it is healthy.

    Raises:
        WrongAnswerError: it does not answer as a usable MLflow does.
        OSError: it does not answer.
    """
    version = _version(ask("/version", {}))
    found = _api(ask, "experiments/get-by-name", {"experiment_name": experiment})
    if version and int(version.partition(".")[0]) < _LEAST:
        raise WrongAnswerError(f"is MLflow {version}, but atx needs {_LEAST}.0 or later: update it")
    ours = found.get("experiment")
    seen = Experiment(ours["experiment_id"], ours["lifecycle_stage"] == "deleted") if ours else None
    try:
        return ServerState(version, seen, _held(ask, model))
    except NotAllowedError:
        return ServerState(version, seen, None, hidden=True)


def _version(answer: requests.Response) -> str:
    _check_status(answer)
    told = re.fullmatch(r"\d+(\.\d+)+\w*", answer.text.strip()[:40])
    return told[0] if told else ""


def _held(ask: Ask, name: str) -> Held | None:
    """Return what the server holds under the name of the registered model."""
    found = _api(ask, "registered-models/get", {"name": name}).get("registered_model")
    if found is None:
        return None
    # MLflow stores prompts as registered models; its client hides them.
    if _tags(found).get("mlflow.prompt.is_prompt", "").lower() == "true":
        return Held(is_prompt=True)
    aliased = {}
    for alias in OUR_ALIASES & {a["alias"] for a in found.get("aliases", [])}:
        of = _api(ask, "registered-models/alias", {"name": name, "alias": alias})["model_version"]
        aliased[alias] = (str(of["version"]), is_from_atx(_tags(of)))
    return Held(
        tagged=MODEL in _tags(found),
        description=found.get("description", ""),
        has_our_versions=any(
            _api(
                ask,
                "model-versions/search",
                {"filter": f"name = '{name}' AND tags.`{tag}` LIKE '%'", "max_results": "1"},
            ).get("model_versions")
            for tag in (DIGEST, VERSION)
        ),
        aliases=aliased,
    )


def _tags(entity: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in entity.get("tags", [])}


def _api(ask: Ask, path: str, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Return what the API answers; nothing if the thing does not exist."""
    answer = ask(_API + path, wanted)
    _check_status(answer)
    try:
        told = answer.json()
    except ValueError as error:
        raise WrongAnswerError(NO_MLFLOW) from error
    if not isinstance(told, dict) or answer.status_code not in (200, 404):
        raise WrongAnswerError(NO_MLFLOW)
    return told if answer.status_code == 200 else {}


def _check_status(answer: requests.Response) -> None:
    status = answer.status_code
    if status == 403 and _OTHER_HOST in answer.text:
        raise WrongAnswerError(
            f"does not answer to that name (403, {_OTHER_HOST}): add '{_host_as_sent(answer.url)}' "
            "to the names of MLflow's --allowed-hosts (keep 'localhost:*' and the others), or "
            "set MLFLOW_HOST to a name that it answers to"
        )
    if status == 401:
        raise LoginRefusedError(status_in_words(status))
    if status == 403:
        raise NotAllowedError(status_in_words(status))
    if status >= 500:
        raise WrongAnswerError(status_in_words(status))


def _host_as_sent(url: str) -> str:
    """Return the Host of a request: with the port, unless it is the scheme's default."""
    asked = urlsplit(url)
    own = {"http": 80, "https": 443}.get(asked.scheme)
    port = "" if asked.port in (None, own) else f":{asked.port}"
    return f"{asked.hostname}{port}"


def status_in_words(status: int) -> str:
    """Say what an HTTP error status means, and how to fix it."""
    if status == 401:
        return (
            "wants a login (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN"
        )
    if status == 403:
        return (
            "does not allow that (403): give the user that atx logs in as "
            "(MLFLOW_TRACKING_USERNAME) the right to edit the experiment and the registered model"
        )
    if status < 500:
        return f"refused the request ({status}): look at the log of MLflow, or of a proxy before it"
    # MLflow reports a full disk as 500, 503 or 507.
    return f"answers with an error ({status}): look at MLflow's log, or make room on its disk"


#: How to fix a certificate that is not trusted.
TLS_FIX = (
    "set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of the authority that signed its own, "
    "or set MLFLOW_HOST to an http:// address if it has none"
)


def is_tls(told: str) -> bool:
    """Return whether the text of an error is about certificates and encryption."""
    return "certificate" in told.lower() or "SSL" in told


def without_login(told: str) -> str:
    """Return a text with user and password removed from its addresses."""
    return re.sub(r"//[^/@\s]*@", "//", told)


def reason(error: BaseException) -> str:
    """Return the innermost cause in one line, without user and password in an address.

    requests wraps the cause several times.
    """
    while (cause := getattr(error, "reason", None) or (error.args or (None,))[0]) is not None:
        if not isinstance(cause, BaseException):
            break
        error = cause
    line = without_login((str(error).splitlines() or [""])[0])
    return line.rpartition(">: ")[2].rpartition("): ")[2] or type(error).__name__

"""What an answer or an error means: MLflow that can be used, one that cannot, something else."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import requests

from atx_assets.models.mlflow_answers import (
    Experiment,
    LoginRefusedError,
    NotAllowedError,
    ServerState,
    WrongAnswerError,
    server_state,
)
from atx_assets.models.mlflow_failures import failure
from atx_assets.settings import read_settings

MISSING = json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST"})


def state(says: str = "3.17.2", **answers: tuple[int, Any]) -> ServerState:
    """What is understood of a server that answers so, by the last word of the path."""

    def ask(path: str, _: Mapping[str, str]) -> requests.Response:
        answer = requests.Response()
        word = path.rpartition("/")[2].replace("-", "_")
        answer.status_code, text = answers.get(
            word, (200, says) if word == "version" else (404, MISSING)
        )
        answer._content = (text if isinstance(text, str) else json.dumps(text)).encode()
        return answer

    return server_state(ask, "atx", "films")


def test_a_new_server_has_neither_our_experiment_nor_a_model():
    assert state() == ServerState("3.17.2", None, None)


@pytest.mark.parametrize("stage", ["active", "deleted"])
def test_our_experiment_is_found_in_mlflows_bin_too(stage):
    found = {"experiment": {"experiment_id": "7", "lifecycle_stage": stage}}
    assert state(get_by_name=(200, found)).experiment == Experiment("7", stage == "deleted")


@pytest.mark.parametrize("where", ["version", "get_by_name"])
@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, LoginRefusedError, r"wants a login \(401\)"),
        (403, NotAllowedError, r"does not allow that \(403\)"),
        (500, WrongAnswerError, r"answers with an error \(500\)"),
        (507, WrongAnswerError, r"answers with an error \(507\)"),
    ],
)
def test_a_status_that_stands_in_the_way_is_named(where, status, kind, words):
    with pytest.raises(WrongAnswerError, match=words) as refused:
        state(**{where: (status, "<html>")})
    assert type(refused.value) is kind


@pytest.mark.parametrize(
    "answer",
    [(200, "<html>a router</html>"), (404, "<html>a router</html>"), (200, []), (302, {})],
    ids=["a page", "no such page", "a list", "sent elsewhere"],
)
def test_another_program_at_the_port_is_not_taken_for_mlflow(answer):
    with pytest.raises(WrongAnswerError, match="not as MLflow does: check MLFLOW_HOST"):
        state(get_by_name=answer)


def test_an_mlflow_before_3_is_refused_and_one_that_does_not_say_its_version_is_not():
    with pytest.raises(WrongAnswerError, match=r"is MLflow 2\.22\.4, but atx needs 3\.0 or later"):
        state("2.22.4")
    assert state("<html>").version == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(28, "No space left on device", "/t/roc.png"),
            "cannot use /t/roc.png on this machine",
        ),
        (ConnectionError("Connection refused"), "stopped answering"),
        ("API request failed with error code 413 != 200", "request (413): look at"),
    ],
    ids=["its own disk", "the network", "a proxy's limit"],
)
def test_what_failed_is_looked_for_where_it_was(error, words):
    from mlflow.exceptions import MlflowException

    error = MlflowException(error) if isinstance(error, str) else error
    settings = read_settings({"MLFLOW_HOST": "mlflow.home"})
    assert words in str(failure(error, settings))

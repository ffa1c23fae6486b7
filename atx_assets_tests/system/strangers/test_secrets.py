"""Secrets appear nowhere, in whatever form, whether all goes well or nothing does."""

import base64
import html
import json
import shlex
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from psycopg import sql

pytestmark = pytest.mark.xdist_group("secrets")

#: What ended well; of all else it is meant that it fails.
WELL = {"load", "run", "doctor", "doctor with .env", "backup", "correct", "undo", "list", "up"}

FORMS: dict[str, Callable[[str], str | bytes]] = {
    "as it is": str,
    "in an address": lambda secret: quote(secret, safe=""),
    "in a form": quote_plus,
    "in SQL": lambda secret: sql.Literal(secret).as_string(None),
    "in a shell": shlex.quote,
    "in HTML": html.escape,
    "in JSON": json.dumps,
    "in Python": repr,
    "in capitals": str.upper,
    "cut at an @ in an address": lambda secret: f"host {secret.rpartition('@')[2]}",
    "cut at a / in an address": lambda secret: secret.partition("/")[0],
    **{
        f"in base64, {n} bytes on": lambda secret, n=n: base64.b64encode(  # type: ignore[misc]
            b"u" * n + secret.encode() + b"!"
        )
        for n in range(3)
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_would_be_found(
    form: str, canary: Callable[[str], str], leak: Callable[[bytes | str], str]
) -> None:
    found = FORMS[form](canary("x"))
    assert leak(found)
    assert leak(b"log: " + (found.encode() if isinstance(found, str) else found) + b"\n")
    assert not leak("PG_PASS of atx_reader is not shown")


def test_nothing_that_is_said_holds_a_secret(house: Any, leak: Any) -> None:
    statuses = {what: status for what, (status, _) in house.said.items()}
    assert {what for what, status in statuses.items() if status == 0} == WELL, house.said
    assert len(statuses) > 25
    assert {what: leak(told) for what, (_, told) in house.said.items() if leak(told)} == {}
    # It was said what is wrong, and with the traceback of --verbose.
    for what, words in {
        "wrong password": "check PG_USER and PG_PASS",
        "wrong corrector": "check ATX_CORRECTION_PG_USER and ATX_CORRECTION_PG_PASS",
        "storage: not escaped": "DAGSTER_POSTGRES_URL is not the address",
        "storage: wrong password": "Dagster's storage cannot be reached",
        "mlflow: locked": "wants a login (401)",
        "mlflow: failing": "answers with an error (500)",
        "mlflow: no host": "MLFLOW_HOST is not the name of a host",
        "permission denied": "GRANT SELECT ON atp.media TO atx_reader",
        "error in SQL": "division by zero",
    }.items():
        assert words in house.said[what][1]
        assert "Traceback" in house.said[what][1]
    assert "127.0.0.1: status 500" in house.said["test alert"][1]
    assert "it holds secrets and other users can read it" in house.said["doctor with .env"][1]


def test_no_file_of_ours_holds_a_secret(house: Any, leak: Any) -> None:
    found, names = {}, []
    for name, content in house.files():
        names.append(name)
        if leak(content):
            found[name] = leak(content)
    assert found == {}
    for part in ("logs/dagster.log", "logs/mlflow.log", "mlflow.db", "compute_logs", "report.html"):
        assert any(part in name for name in names), part
    assert leak((house.home / ".env").read_bytes()), "what is meant to hold them, does"


def test_a_backup_holds_no_env_file_wherever_it_lies(house: Any) -> None:
    names = [name for name, _ in house.files() if name.startswith("backup: ")]
    assert len(names) > 50
    assert [name for name in names if ".env" in name] == []


def test_no_table_of_dagsters_storage_holds_a_secret(house: Any, leak: Any) -> None:
    values = [(name, value) for name, rows in house.tables.items() for value in rows]
    assert {name: leak(value) for name, value in values if leak(value)} == {}
    for table in ("runs", "event_logs", "job_ticks", "snapshots", "instigators"):
        assert house.tables[table], table
    # What is compressed was looked into, and failures are recorded there.
    assert any(b"raw_media" in value for value in house.tables["snapshots"])
    assert any(b"wrong password" in value for value in house.tables["event_logs"])
    assert any(b"wrong password" in value for value in house.tables["job_ticks"])


def test_no_command_line_holds_a_secret(house: Any, leak: Any) -> None:
    """Every user of a machine can read those of all others."""
    commands = list(house.commands)  # more may come meanwhile
    assert [line for line in commands if leak(line)] == []
    for program in ("web.guarded", "dagster._daemon", "mlflow", "spawn_main"):
        assert any(program in line for line in commands), program


def test_no_page_and_no_log_of_the_server_holds_a_secret(house: Any, leak: Any) -> None:
    assert {what: leak(body) for what, (_, body) in house.answers.items() if leak(body)} == {}
    assert "PostgresRunStorage" in house.answers["own: what Dagster says of itself"][1]
    assert not leak(house.server_log)
    assert "password authentication failed" in house.server_log


def test_a_compressed_secret_is_unpacked(canary: Callable[[str], str], leak: Any) -> None:
    packed = zlib.compress(canary("x").encode())
    assert not leak(packed)
    assert leak(zlib.decompress(packed))


# -- the pages of `atx up`


def test_all_that_listens_listens_for_this_machine_alone(house: Any) -> None:
    ports = ("ATX_UI_PORT", "ATX_REPORT_PORT", "MLFLOW_PORT")
    assert house.listening == {("127.0.0.1", house.port(name)) for name in ports}


def test_a_page_of_another_site_is_refused_by_each_server(house: Any) -> None:
    foreign = {w: a[0] for w, a in house.answers.items() if w.startswith("foreign: ")}
    assert len(foreign) == 14
    assert set(foreign.values()) == {403}, foreign
    own = {w: a[0] for w, a in house.answers.items() if w.startswith("own: ")}
    assert len(own) == 6
    assert set(own.values()) == {200}, own


def test_what_strangers_asked_for_was_not_done_and_what_the_owner_asked_for_was(house: Any) -> None:
    limits = json.loads(house.answers["made: dagster"][1])["data"]["instance"]["concurrencyLimits"]
    assert {limit["concurrencyKey"] for limit in limits} == {"program", "page"}
    experiments = json.loads(house.answers["made: mlflow"][1])["experiments"]
    assert {e["name"] for e in experiments} - {"Default", "atx"} == {"program", "page"}


def test_runs_launched_at_once_in_the_ui_go_one_after_another(house: Any) -> None:
    """By the queue, the daemon and run workers, all of which ended well."""
    (_, first_end), (second_start, _) = house.ran["full_rebuild"], house.ran["score"]
    assert second_start >= first_end


# -- nothing that is left can run code when it is loaded


def test_no_file_is_a_pickle(house: Any) -> None:
    """Dagster's own way to keep what an op returns is one, and MLflow's to keep a model."""
    assert house.launched.keys() == {"full_rebuild", "score", "correct_labels"}
    names = []
    for name, content in house.files():
        assert not (content[:1] == b"\x80" and content[1:2] in b"\2\3\4\5"), name
        assert not name.endswith((".pkl", ".pickle", ".joblib", ".pt", ".npy")), name
        names.append(name)
    runs = [name for name in names if "/dagster/storage/" in name]
    assert runs
    # What was printed in runs and ticks; an output of an op would be a file without an ending.
    assert [n for n in runs if not n.endswith((".out", ".err", ".complete"))] == []


def test_a_model_in_mlflow_is_loaded_without_pickle(house: Any) -> None:
    folder = next((house.home / "mlflow" / "artifacts").glob("*/models/*/artifacts"))
    assert {path.name for path in folder.iterdir()} == {
        "MLmodel",
        "conda.yaml",
        "input_example.json",
        "model.ubj",
        "python_env.yaml",
        "requirements.txt",
        "serving_input_example.json",
    }
    for name in ("MLmodel", "conda.yaml", "requirements.txt", "python_env.yaml"):
        assert "pickle" not in (folder / name).read_text()
    assert "loader_module: mlflow.xgboost" in (folder / "MLmodel").read_text()

"""The whole of it, as a person runs it: by the program, in fresh homes, on real libraries."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from atx_assets import schemas
from atx_assets.sample import LIBRARY
from atx_assets_tests.builders.program import ATX
from atx_assets_tests.builders.scale import soaking

#: Folds of the contract's own measurement: mean PR-AUC and its standard deviation a fold.
EXPECTED = {
    # The contract counts 3143 titles and 740 unlabelled: a program that let no release without an
    # id join the title of its name and year. See test_titles.py.
    "media": {
        "rows": 7744,
        "films": 3135,
        "training": 2397,
        "keeps": 414,
        "unlabelled": 738,
        "pr_auc": (0.958, 0.022),
    },
    "training": {
        "rows": 1500,
        "films": 1481,
        "training": 1481,
        "keeps": 159,
        "unlabelled": 0,
        "pr_auc": (0.887, 0.048),
    },
}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".")
    }


@pytest.mark.xdist_group("real libraries")
@pytest.mark.real_data
@pytest.mark.parametrize("layout", ["media", "training"])
def test_a_real_library_gives_what_the_contract_says_and_the_same_bytes_twice(
    layout, on_real_library, shared_data
):
    expected, program = EXPECTED[layout], on_real_library(layout)
    told, data = program.told, program.data
    assert f"learned from {expected['training']:>8,}".split()[-1] in told.stdout
    if layout == "training":
        assert program.environment["PG_PASS"] not in told.stdout + told.stderr

    raw = pq.read_table(data / "media.parquet")
    source = pq.read_table(shared_data / f"{layout}.parquet")
    assert raw.num_rows == expected["rows"]
    key = "hash" if layout == "media" else "imdb_id"
    assert raw[key].to_pylist() == sorted(source[key].to_pylist())
    columns = {c.name: c for c in (schemas.MEDIA if layout == "media" else schemas.TRAINING)}
    for field in raw.schema:
        assert field.type == schemas.arrow_type(columns[field.name].type)

    training = pq.read_table(data / "binomial_classifier_training_data.parquet")
    assert training.num_rows == expected["training"]
    assert pc.sum(training["label"].cast("int64")).as_py() == expected["keeps"]
    assert training["key"].to_pylist() == sorted(set(training["key"].to_pylist()))

    results = pq.read_table(data / "binomial_classifier_results.parquet")
    assert results.schema.remove_metadata() == schemas.arrow_schema(schemas.SCORED_RESULTS)
    assert results.num_rows == expected["films"]
    assert results["label_source"].null_count == expected["unlabelled"]
    assert results["key"].to_pylist() == sorted(set(results["key"].to_pylist()))
    labelled = results.filter(results["actual"].is_valid()).to_pylist()
    assert len(labelled) == expected["training"]
    for row in labelled:
        assert (
            row["cm_value"]
            == {
                (True, True): "tp",
                (True, False): "fp",
                (False, False): "tn",
                (False, True): "fn",
            }[row["predicted"], row["actual"]]
        )
    assert results.filter(results["actual"].is_null())["cm_value"].null_count == (
        results.num_rows - len(labelled)
    )

    version = json.loads((data / "models" / "champion.json").read_text())["version"]
    about = json.loads((data / "models" / str(version) / "bundle.json").read_text())
    mean, spread = expected["pr_auc"]
    quality = json.loads((data / "models" / str(version) / "quality.json").read_text())
    searched = [quality["nested"]] if layout == "media" and soaking() else []
    for measured in (quality["model"]["all"], *searched):
        assert abs(measured["pr_auc"]["mean"] - mean) < spread / 2
        assert measured["pr_auc"]["mean"] > quality["rule"]["all"]["pr_auc"]["mean"]
    threshold = about["threshold"]
    assert np.array_equal(results["predicted"], results["probability"].to_numpy() >= threshold)

    before = contents(data)
    # Without the search, which takes longer than all else: `test_graph.py` repeats that, too.
    again = program("run", "--job", "refresh")
    assert again.returncode == 0, again.stderr
    after = contents(data)
    assert [name for name in before if before[name] != after.get(name)] == []
    assert set(after) == set(before)


@pytest.mark.xdist_group("demo")
def test_the_demo_tells_what_a_newcomer_wants_to_know(demo):
    out = " ".join(demo.told.stdout.split())
    for words in (
        "made-up viewer",
        "films read and scored 17,470",
        "labelled, learned from 4,000 (747 keeps)",
        "unlabelled 13,470",
        "best single-feature rule",
        "false positives",
        "false negatives",
        "unlabelled films predicted keep",
        "report.html",
        "http://127.0.0.1:3000",
    ):
        assert words in out
    assert "Traceback" not in demo.told.stderr
    assert "Warning" not in demo.told.stderr


@pytest.mark.xdist_group("demo")
def test_the_demo_can_be_run_again_when_its_files_are_gone(demo):
    shutil.rmtree(demo.data)
    again = demo("demo", ATX_SEARCH="off", ATX_MLFLOW="off")
    assert again.returncode == 0, again.stderr
    assert "0 releases added, 19,893 already there" in again.stdout


def test_the_demo_stays_out_of_a_home_with_another_library(program, shared_data):
    assert program("load", str(shared_data / "media.parquet")).returncode == 0
    done = program("demo")
    assert done.returncode == 1
    assert "already holds another library" in done.stderr
    assert "ATX_HOME=.atx-demo" in done.stderr


def test_a_real_library_is_not_loaded_among_the_made_up_viewers_films(program, shared_data):
    assert program("load", str(LIBRARY)).returncode == 0
    done = program("load", str(shared_data / "media.parquet"))
    assert done.returncode == 1
    assert "holds the sample library" in done.stderr
    assert program("load", str(LIBRARY)).returncode == 0


def test_ctrl_c_in_the_search_stops_at_once_and_leaves_what_was_there(program, small_library):
    assert program("load", str(small_library)).returncode == 0
    run = subprocess.Popen(
        [*ATX, "run"],
        env=program.environment,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in run.stdout:
        if "fits" in line:
            break
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    asked = time.monotonic()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err == "atx: stopped; what was there before stays in place\n"
    assert time.monotonic() - asked < 15
    assert (program.data / "binomial_classifier_training_data.parquet").exists()
    assert not (program.data / "grid_search_results.parquet").exists()

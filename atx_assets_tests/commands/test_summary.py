"""What `atx run` tells at its end."""

import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from atx_assets.commands.output.summary import summary
from atx_assets.models.bundles import Bundles

pytestmark = pytest.mark.slow


def lines_of(place, **options: bool) -> list[str]:
    return list(summary(place.settings(), **options))


def test_before_the_first_scoring_nothing_is_told(copied):
    copied.files.path("scored_results").unlink()
    assert lines_of(copied) == []


def test_the_headline_is_the_nested_figure_beside_what_it_must_beat(finished):
    quality = Bundles(finished.files).champion().about["quality"]
    text = "\n".join(lines_of(finished))
    nested, rule = quality["nested"]["pr_auc"], quality["rule"]["all"]["pr_auc"]
    for line, spread, told_after in (
        ("the model (version 1)", nested, ""),
        ("best single-feature rule", rule, f"   ({quality['the_rule']})"),
    ):
        (found,) = [told for told in text.splitlines() if told.strip().startswith(line)]
        assert found.endswith(f"{spread['mean']:.3f} ± {spread['std']:.3f}{told_after}")
    assert "always skip" in text
    assert "challenger" not in text


def test_rows_that_are_set_aside_are_told_and_no_line_says_that_none_is(copied):
    assert "set aside" not in "\n".join(lines_of(copied))
    with copied.connect() as connection:
        connection.execute("UPDATE atp.media SET release_year = 9999 WHERE right(hash, 1) = '0'")
    assert copied.learns("score").success
    aside = copied.files.read_table("quarantine").num_rows
    assert aside
    assert (
        f"  rows set aside         {aside:>8,}   of 1,500 read: `atx show quarantine` says why"
        in lines_of(copied)
    )


def test_commands_for_a_demo_apart_name_its_data_folder(finished, tmp_path):
    """Kept out: `atx show queue`, which shows the queue of the person's own library."""
    settings = finished.settings()
    (shown,) = [line for line in summary(settings) if "show queue" in line]
    assert "ATX_DATA_DIR" not in shown
    lines = summary(settings, usual_data=tmp_path / "data")
    (shown,) = [line for line in lines if "show queue" in line]
    assert f"ATX_DATA_DIR={settings.data_dir} " in shown


def test_the_headline_is_short_and_says_where_to_go_on(finished, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    lines = lines_of(finished)
    text = "\n".join(lines)
    assert len(lines) <= 30
    assert "thresholds, out of fold" not in text
    threshold = Bundles(finished.files).champion().threshold
    assert re.search(
        rf"version 1 scores \(champion, made 20.+\): a keep from {threshold:.0%}", text
    )
    results = finished.files.read_table("scored_results").to_pylist()
    keeps = [r for r in results if r["predicted"] and r["label_source"] is None]
    best = max(keeps, key=lambda r: (r["probability"], [-ord(c) for c in r["key"]]))
    program = re.search(r"next    (\S+) show queue", text)[1]
    assert Path(program).resolve() == Path(sys.executable).parent.resolve() / "atx"
    assert f"{program} explain {best['key']} " in text
    (tmp_path / "atx").touch(0o755)
    assert "  next    atx show queue" in "\n".join(lines_of(finished))


def test_what_a_title_holds_does_not_reach_the_terminal(copied):
    table = copied.files.read_table("scored_results")
    nothing = pa.nulls(table.num_rows, pa.string())
    odd = pa.array(["\x1b[2J\u202eboo"] * table.num_rows)
    # The key of a film without an IMDb id is its title.
    for name, values in (("media_title", odd), ("key", odd), ("imdb_id", nothing)):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    copied.files.write_table("scored_results", table)
    text = "\n".join(lines_of(copied))
    assert "?[2J?boo" in text
    assert "\x1b" not in text


def test_after_a_rollback_the_version_that_scored_is_champion_no_more(copied):
    bundles = Bundles(copied.files)
    shutil.copytree(bundles.folder / "1", bundles.folder / "2")
    bundles.promote(bundles.version(2))
    assert "version 1 scores (no longer champion, made" in "\n".join(lines_of(copied))


def test_all_figures_are_told_with_thresholds_and_calibration(finished):
    about = Bundles(finished.files).champion().about
    quality = about["quality"]
    lines = lines_of(finished, figures=True)
    text = "\n".join(lines)
    heads = next(line for line in lines if line.strip().startswith("measure"))
    assert heads.split()[:6] == ["measure", "nested", "model,", "same", "5", "folds"]
    assert "best rule" in heads
    row = next(line for line in lines if line.strip().startswith("PR-AUC"))
    assert f"{quality['nested']['pr_auc']['mean']:.3f} ±" in row
    assert f"{quality['model']['all']['pr_auc']['mean']:.3f} ±" in row
    assert f"{quality['rule']['all']['pr_auc']['mean']:.3f} ±" in row
    for heading in (
        "all labels: ",
        "labelled by a person: ",
        "labelled by a rule: ",
        "newest in the",
    ):
        assert heading in text
    assert "thresholds, out of fold" in text
    used = next(line for line in lines if "(in use)" in line)
    assert used.split()[0] == about["operating_point"] == "f1"
    assert f"{about['threshold']:.3f}" in used
    error = quality["calibration"]["error"]
    assert f"calibration, off by {error['mean']:.3f} ± {error['std']:.3f} on average" in text
    assert "0.9 to 1.0" in text
    assert f"learning_rate {about['hyperparameters']['learning_rate']:g}" in text


def test_a_challenger_that_waits_is_named_with_the_reason(copied):
    bundles = Bundles(copied.files)
    shutil.copytree(bundles.folder / "1", bundles.folder / "2")
    bundles.judge(bundles.version(2), {"promoted": False, "reason": "worse; PR-AUC -0.0200"})
    bundles.challenge(bundles.version(2))
    for figures in (False, True):
        text = "\n".join(lines_of(copied, figures=figures))
        assert "version 2 is challenger, version 1 scores:\n    worse; PR-AUC -0.0200" in text


def test_the_figures_are_those_of_the_version_that_scored_though_another_is_champion_now(copied):
    """Kept out: between a rollback and the next scoring, scores of one model under another's."""
    bundles = Bundles(copied.files)
    shutil.copytree(bundles.folder / "1", bundles.folder / "2")
    bundles.promote(bundles.version(2))
    assert "the model (version 1)" in "\n".join(lines_of(copied))

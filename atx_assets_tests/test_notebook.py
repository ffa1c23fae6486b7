"""The notebook runs on a finished workplace, shows what it promises, and writes nothing there."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from atx_assets.settings import ROOT

PATH = ROOT / "notebooks" / "analysis.ipynb"


def test_the_notebook_is_kept_without_outputs():
    """Kept out: titles of somebody's library, and figures that make each change a large one."""
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 5
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.slow
def test_the_notebook_repeats_the_figures_and_tables_of_the_report(finished):
    notebook = nbformat.read(PATH, as_version=4)
    before = finished.contents()
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
    )
    with finished.environment():
        client.execute()
    assert finished.contents() == before

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [o for o in outputs if o.output_type == "error"] == []
    assert [o.text for o in outputs if o.get("name") == "stderr"] == []
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 3  # violins, correlations, precision and recall
    tables = [o.data["text/html"] for o in outputs if "text/html" in o.get("data", {})]
    assert len(tables) == 4  # the assets, the surest films, both kinds of mistakes
    assert "analysis_report" in tables[0]
    for table, asset in ((tables[2], "false_positives"), (tables[3], "false_negatives")):
        first = finished.files.read_records(asset)[0]
        assert table.count("<tr") > 5
        assert str(first["release_year"]) in table
        assert f"{first['probability']:.6f}" in table
    told = "".join(o.text for o in outputs if o.get("name") == "stdout")
    films = finished.files.read_table("scored_results").num_rows
    assert f"{films:,} films" in told
    pr_auc, single, without = map(float, re.findall(r"0\.\d{3}", told))
    assert single == pytest.approx(pr_auc, abs=0.1)
    assert pr_auc > 1.5 * without

"""docs/notebook.ipynb runs from its first cell to its last, on the demo, and ends with figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from tests.import_graph import ROOT

NOTEBOOK = ROOT / "docs/notebook.ipynb"


@pytest.fixture
def elsewhere(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a folder to run in: a copy of the demo, since the notebook stores what it finds."""
    cache = tmp_path / "cache"
    shutil.copytree(demo, cache)
    monkeypatch.setenv("KTHINK_CACHE", str(cache))
    monkeypatch.setenv("KTHINK_WORKER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    return cache


def test_it_runs(elsewhere: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    sockets = Config({"KernelManager": {"transport": "ipc"}})  # files in the folder instead of ports
    NotebookClient(notebook, timeout=600, startup_timeout=600, kernel_name="python3", config=sockets).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [output.get("data", {}) for cell in cells for output in cell.outputs]
    assert sum("alt." in data.get("text/plain", "") for data in shown) == 2
    assert any("kl_sum" in output.get("text", "") for cell in cells for output in cell.outputs)
    assert not [output for cell in cells for output in cell.outputs if "Error" in output.get("text", "")]
    assert list((elsewhere / "demo/studies").rglob("*.json")), "the ablation is stored with the experiment"


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells and not any(cell.outputs or cell.execution_count for cell in cells)

"""The notebook of the documentation, run from its first cell to its last."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jupytext

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


def test_the_notebook_runs_and_holds_no_outputs(tmp_path: Path) -> None:
    notebook = jupytext.read(NOTEBOOK)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    script = tmp_path / "quickstart.py"
    jupytext.write(notebook, script, fmt="py:percent")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\nuse: ClipNorm(" in done.stdout

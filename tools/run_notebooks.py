"""Run the notebooks of examples/notebooks, and keep their outputs in them.

Usage: python tools/run_notebooks.py [NAME ...]

Outputs are kept as they are shown, but for what differs from run to run and says nothing: progress, warnings, times.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "examples" / "notebooks"

SECONDS = 600
"""Longest time for a cell [s]."""

KEPT = ("image/jpeg", "image/png", "text/plain")
"""Forms of an output, the best one first; only the best is kept."""


def run(path: Path) -> nbformat.NotebookNode:
    """Run a notebook in an empty folder; returns it with its outputs.

    Raises: nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        options = {"timeout": SECONDS, "startup_timeout": SECONDS, "resources": {"metadata": {"path": folder}}}
        client = NotebookClient(notebook, kernel_name="python3", **options)
        return client.execute(env=os.environ | {"OMP_NUM_THREADS": "1"})


def trimmed(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook whose outputs are those that tell something, without times of the run."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
        for output in cell.outputs:
            if data := output.get("data"):
                output.data = dict([(form, data[form]) for form in KEPT if form in data][:1])
    notebook.metadata.pop("widgets", None)
    return notebook


def main(names: list[str]) -> None:
    """Run the named notebooks, or all."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        nbformat.write(trimmed(run(path)), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])

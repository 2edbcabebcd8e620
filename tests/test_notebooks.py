"""The notebooks run from the first cell to the last, and a result at the end of a cell is shown."""

import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.inference.segmentation import Segmentation
from tools.run_notebooks import NOTEBOOKS, run, trimmed


def outputs(notebook: nbformat.NotebookNode, form: str) -> list[str]:
    """What all cells show in one form."""
    found = (output.get("data", {}).get(form) for cell in notebook.cells for output in cell.get("outputs", []))
    return [one for one in found if one]


@pytest.mark.parametrize(
    "name", ["first_masks", *(pytest.param(name, marks=pytest.mark.slow) for name in ("look_inside", "teach"))]
)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that fails raises; what is shown has the forms of what the file keeps."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # the home may be read-only
    path = NOTEBOOKS / f"{name}.ipynb"
    kept, ran = nbformat.read(path, as_version=4), trimmed(run(path))
    for form in ("image/jpeg", "image/png", "text/plain"):
        assert len(outputs(ran, form)) == len(outputs(kept, form))
    assert outputs(ran, "image/jpeg") or outputs(ran, "image/png")


def test_taught_words_are_better_than_text_in_the_notebook_that_teaches() -> None:
    kept = nbformat.read(NOTEBOOKS / "teach.ipynb", as_version=4)
    text = "".join(output.text for output in kept.cells[-2].outputs)
    scores = {line.split("  ")[0].strip(): float(line.split()[-1]) for line in text.splitlines() if line.strip()}
    assert scores["by text"] + 40 < scores["taught"] and scores["taught"] < scores["fine-tuned"]


def test_a_cell_shows_the_overlay_of_a_result_small_enough_to_keep() -> None:
    labels = np.zeros((3000, 4000), np.uint16)
    result = Segmentation(
        labels=labels,
        words=("cat",),
        confidence=np.full(labels.shape, 0.5, np.float32),
        selected=np.ones(1, bool),
        image=np.zeros((*labels.shape, 3), np.uint8),
        model="tiny",
        seconds=0.1,
    )
    shown = Image.open(io.BytesIO(result._repr_jpeg_()))
    assert 180_000 < shown.width * shown.height < 220_000


def test_a_model_is_named_by_its_repr() -> None:
    assert repr(segvoc.load("tiny")).startswith("<") and "'tiny'" in repr(segvoc.load("tiny"))

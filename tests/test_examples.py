"""Every example runs as a newcomer runs it: a script of its own on a small set, or a notebook from end to end."""

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import segvoc
from tests.labeling.formats.drawn_results import drawn_result
from tests.lazy_modules import LazyModule
from tests.processes import printed

nbformat, notebooks = LazyModule("nbformat"), LazyModule("tools.run_notebooks")

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
CHELSEA = REPOSITORY / "samples" / "chelsea.jpg"
SMALL = ["steps=2", "crop_size=64", "short_sides=64", "batch_size=1", "num_workers=0"]
WITHOUT_TORCH = """
import runpy, sys
from pathlib import Path
sys.modules["torch"] = None  # importing it fails
sys.argv = {arguments!r}
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0])
"""


@pytest.fixture
def labeled(tmp_path: Path) -> list[str]:
    """Folders of two images and their label maps, and the file of the classes."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for stem, sample in (("cat", CHELSEA), ("cup", CHELSEA.with_name("coffee.jpg"))):
        Image.open(sample).resize((96, 80)).save(tmp_path / "images" / f"{stem}.jpg")
        labels = np.zeros((80, 96), np.uint8)
        labels[20:60, 20:70] = 1 if stem == "cat" else 2
        labels[:4] = 255
        Image.fromarray(labels).save(tmp_path / "labels" / f"{stem}.png")
    (tmp_path / "classes.json").write_text(json.dumps(["wall", "cat", "cup"]))
    return [str(tmp_path / name) for name in ("images", "labels", "classes.json")]


def run(name: str, *arguments: object, without_torch: bool = False) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000"}
    command = [EXAMPLES / name, *arguments]
    if without_torch:
        command = ["-c", WITHOUT_TORCH.format(arguments=[str(part) for part in command])]
    return printed(*command, env=environment, cwd=REPOSITORY)


def test_segment(tmp_path: Path) -> None:
    assert "cat " in run("segment.py", CHELSEA, tmp_path / "out")
    written = {"chelsea.json", "chelsea.overlay.png", "chelsea.png", "look.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == written


@pytest.mark.slow
def test_teach(tmp_path: Path) -> None:
    """Without PyTorch; far better after than before on the other photographs, by the table; the overlays differ."""
    lines = run("teach.py", tmp_path, without_torch=True).splitlines()
    *_, before, after = next(line.split() for line in lines if line.startswith("mean"))
    assert 25 < float(before) < 35 and float(after) > 38
    with Image.open(tmp_path / "before_after.png") as sheet:
        image, text, taught = (np.asarray(sheet.crop((x, 26, x + 320, 26 + 320)), int) for x in (0, 320, 640))
    assert abs(image - text).mean() > 5 and abs(text - taught).mean() > 5
    command = next(line for line in lines if "segvoc segment" in line)
    assert "--taught" in command and (tmp_path / "facades.words.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "settings", "said", "made"),
    [
        ("evaluate.py", [], "mIoU", ["index.html"]),
        ("fine_tune.py", SMALL, "", ["model.safetensors", "look/cat.overlay.png"]),
        ("new_aggregation.py", SMALL, "the same to the bit", ["mine.safetensors"]),
    ],
)
def test_labeled_images(tmp_path, labeled, script: str, settings: list[str], said: str, made: list[str]) -> None:
    assert said in run(script, *labeled, tmp_path / "run", *settings)
    assert all((tmp_path / "run" / name).exists() for name in made)


def outputs(notebook: Any, form: str) -> list[str]:
    found = (output.get("data", {}).get(form) for cell in notebook.cells for output in cell.get("outputs", []))
    return [one for one in found if one]


@pytest.mark.parametrize(
    "name", ["first_masks", *(pytest.param(name, marks=pytest.mark.slow) for name in ("look_inside", "teach"))]
)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell that fails raises; what is shown has the forms of what the file keeps."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # the home may be read-only
    path = EXAMPLES / "notebooks" / f"{name}.ipynb"
    kept, ran = nbformat.read(path, as_version=4), notebooks.trimmed(notebooks.run(path))
    for form in ("image/jpeg", "image/png", "text/plain"):
        assert len(outputs(ran, form)) == len(outputs(kept, form))
    assert outputs(ran, "image/jpeg") or outputs(ran, "image/png")


def test_a_cell_names_a_model_and_shows_the_overlay_of_a_result_small_enough_to_keep() -> None:
    assert repr(segvoc.load("tiny")).startswith("<") and "'tiny'" in repr(segvoc.load("tiny"))
    result = drawn_result(np.zeros((3000, 4000), np.uint16), ("cat",))
    shown = Image.open(io.BytesIO(result._repr_jpeg_()))
    assert 180_000 < shown.width * shown.height < 220_000

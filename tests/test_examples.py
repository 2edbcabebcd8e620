"""Every example runs as a newcomer runs it: a script of its own, on a sample photograph or a small set of images."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import printed

REPOSITORY = Path(__file__).resolve().parents[1]
EXAMPLES = REPOSITORY / "examples"
CHELSEA = REPOSITORY / "samples" / "chelsea.jpg"
SMALL = ["steps=2", "crop_size=64", "short_sides=64", "batch_size=1", "num_workers=0"]
MAX_LINES = 75
WITHOUT_TORCH = """
import runpy, sys
from importlib.machinery import PathFinder
from pathlib import Path

class OtherModules(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "torch" else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = OtherModules
sys.argv = {arguments!r}
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0])
assert "torch" not in sys.modules
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
    assert float(before) < 20 and float(after) > 35
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


def test_every_example_is_short_and_is_tested() -> None:
    tests = Path(__file__), Path(__file__).parent / "serving/test_clients.py"
    tested = "".join(path.read_text(encoding="utf-8") for path in tests)
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in tested
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES

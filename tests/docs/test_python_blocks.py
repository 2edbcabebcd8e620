"""The Python blocks of the README and the docs run as printed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segvoc
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.preparation.prepare import prepare
from segvoc.data.training import training_set
from segvoc.data.training.training_set import ShardedSampler
from tests.data.captions.drawn_sets import write_captions
from tests.data.replicas import replica
from tests.labeling.videos.videos import write_video
from tests.loopback_hub import LoopbackHub, use_hub
from tools.doc_examples import ROOT, scripts

SCRIPTS = scripts()

QUICK = ["README.md", "docs/how_to/aggregation_module.md", "docs/how_to/objects.md", "docs/how_to/parts.md"]
_TASKS = (
    "big_images",
    "captions",
    "export",
    "formats",
    "python",
    "share",
    "track",
    "tracks",
    "training_loop",
    "videos",
)
SLOW = ["docs/reference/examples.md", *(f"docs/how_to/{name}.md" for name in _TASKS)]
ELSEWHERE = {
    "docs/index.md": "the README's",
    "docs/how_to/click.md": "tests/inference/test_clicks.py",
    "docs/how_to/maps.md": "tests/imaging/test_map_features.py, tests/labeling/big_images",
    "docs/how_to/batch.md": "tests/labeling/batch run batches, and read their tables with pycocotools",
    "docs/how_to/teach.md": "tests/inference/taught teach, save and combine words",
    "docs/how_to/viewers.md": "tests/inference/test_segmentation.py",
}

NEEDED = {"examples": "datasets", "track": "wandb"}
"""Packages that pages import, which segvoc doesn't bring."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # `result.show()` saves its overlay there
    photo = Image.open(ROOT / "samples/chelsea.jpg").resize((96, 64))
    for folder in ("photos", "images", "labels"):
        Path(folder).mkdir()
    for path in ("photo.jpg", "panorama.jpg", "photos/a.jpg", "photos/b.jpg", "images/a.jpg", "images/b.jpg"):
        photo.save(path)
    for stem in "ab":
        Image.fromarray(np.repeat(np.arange(2, dtype=np.uint8), 32)[:, None].repeat(96, 1)).save(f"labels/{stem}.png")
    Path("classes.json").write_text(json.dumps(["cat", "wall"]))
    write_captions(Path("captions.json"), ("a.jpg", "a red bus on a street"), ("b.jpg", "a cat on a sofa"))
    return tmp_path


def test_every_page_is_run() -> None:
    assert sorted([*QUICK, *SLOW, *ELSEWHERE]) == sorted(SCRIPTS)


def run(page: str) -> None:
    exec(compile(SCRIPTS[page], page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", QUICK)
def test_a_page(page: str, place: Path) -> None:
    run(page)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")  # on fewer cores
@pytest.mark.filterwarnings("ignore:OpenCV")  # says supervision, where that isn't there
@pytest.mark.parametrize("page", SLOW)
def test_a_slow_page(page: str, place: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    name = Path(page).stem
    if name in NEEDED:
        pytest.importorskip(NEEDED[name])
        replica("a-150", Path("data"))
        prepare(find_benchmark("a-150"), Path("data"), allow_missing=True)
        monkeypatch.setenv("WANDB_MODE", "offline")
        train, short = segvoc.train, {"steps": 2, "views": 1, "crop_size": 64, "short_sides": (64,)}
        monkeypatch.setattr("segvoc.train", lambda recipe, *a, **k: train(recipe.with_settings(**short), *a, **k))
    if name == "captions":
        few = {"batch": 2, "steps": 2}
        monkeypatch.setattr(training_set, "ShardedSampler", lambda **asked: ShardedSampler(**asked | few))
    if name == "export":
        segvoc.export(segvoc.load_network("tiny", device="cpu", dtype="float32"), "model")
    if name == "big_images":
        rasterio = pytest.importorskip("rasterio")
        size = {"width": 96, "height": 64, "count": 3, "dtype": "uint8", "crs": "EPSG:32632"}
        size["transform"] = rasterio.transform.from_origin(500_000, 5_000_000, 0.5, 0.5)
        with rasterio.open("scene.tif", "w", driver="GTiff", **size) as scene:
            scene.write(np.asarray(Image.open("photo.jpg")).transpose(2, 0, 1))
    if name == "share":
        use_hub(monkeypatch, place / "home", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.repositories.token)
        for name in ("anna/car-parts", "anna/car-parts@v2"):
            segvoc.push(segvoc.load_network("tiny", dtype="float32"), name, weights=True)
    if name in ("videos", "examples", "tracks"):
        write_video(Path("video.mp4"), 6)
    if name == "formats":
        with segvoc.DatasetWriter("coco", "coco-panoptic") as dataset:
            dataset.add(segvoc.load("tiny").segment("photo.jpg", ["cat", "sofa", "wall"]))
        for path in Path("coco/annotations").iterdir():
            path.rename(str(path).replace("default", "val2017"))
    run(page)

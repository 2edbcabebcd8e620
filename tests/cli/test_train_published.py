"""`segvoc train` that fetches what it starts from, from a hub on loopback."""

import json
from pathlib import Path

import pytest

from segvoc.checkpoints.files import read_header
from tests.loopback_hub import LoopbackHub, use_hub, without_network
from tests.small_published import use_small_published
from tests.training.runs import drawn_images

FOLDERS = ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]
SMALL = ["crop_size=96", "short_sides=96", "batch_size=1", "num_workers=0", "fod_weight=0"]
CALL = [*FOLDERS, "--out", "run", "--device", "cpu", *(part for setting in SMALL for part in ("--set", setting))]


@pytest.fixture(autouse=True)
def folders(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three drawn images, and a cache in which nothing lies."""
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    drawn_images(tmp_path / "set", 3)


def test_a_recipe_fetches_its_encoders_and_records_them(segvoc_command, hub, monkeypatch):
    (encoders,) = use_small_published(hub, monkeypatch, "pca-seg-clip-b")
    call = ["train", "pca-seg-clip-b", *CALL, "--steps", 1]
    done = segvoc_command(*call).ok()
    assert done.out == "run/model.safetensors\n" and len(hub.transfers()) == 1
    config = json.loads(Path("run/config.json").read_text())
    assert config["started_from"] == [encoders.record()]
    assert config["start"] == {"weights": None, "encoder_weights": None}
    assert read_header("run/model.safetensors").record["training"]["started_from"] == [encoders.record()]
    shown = segvoc_command("info", "run/model.safetensors").out
    assert "started from:\n" in shown and encoders.sha256 in shown
    Path("run/model.safetensors").unlink()
    without_network(monkeypatch)
    assert segvoc_command(*call, "--resume").code == 0
    assert Path("run/model.safetensors").exists()

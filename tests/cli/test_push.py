"""`segvoc push`: runs, files of taught words, and what others then label with them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

import segvoc
from segvoc.checkpoints.hub import CARD, CONFIG, SHARED_WEIGHTS
from segvoc.models.presets import PRESETS
from segvoc.models.shipped import open_tiny
from tests.cli.command import Command, draw_photos
from tests.images import made_photograph
from tests.inference.taught.drawn_examples import drawn_examples
from tests.loopback_hub import LoopbackHub, use_hub
from tests.official_checkpoints import small_preset

WORDS = "grass, sky, brick"


@pytest.fixture
def command(hub: LoopbackHub, segvoc_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc` of somebody who is logged in to a hub on loopback."""
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    monkeypatch.setenv("HF_TOKEN", hub.repositories.token)
    return segvoc_command


def made_run(folder: str) -> None:
    """The folder of a run, as `segvoc train` leaves it, with a small random network."""
    run = Path(folder)
    (run / "images/step_000004/street").mkdir(parents=True)
    model = segvoc.load("cat-seg-b", weights="random", device="cpu")
    model.known_words, model.known_background = ("sky", "a|b", "none"), "none"
    segvoc.save(model, run / SHARED_WEIGHTS)
    recipe = {
        "method": "network",
        "optimizer": {"steps": 4, "batch_size": 2, "lr": 0.001},
        "objective": {"loss": "masked"},
        "data": {"num_val_images": 10},
        "runtime": {"patience": 0},
    }
    images = {"name": "street", "classes": ["sky", "a|b", "none"], "background": "none", "count": 7}
    images |= {"validation": list("0123456789")}
    session = {"command": ["/home/anna/segvoc"], "machine": {"device": "cpu", "segvoc": "0.1.0"}}
    config = {"recipe": recipe, "seed": 3, "images": images, "sessions": [session]}
    (run / "config.json").write_text(json.dumps(config))
    scored = [
        {"step": 0, "pixel_accuracy": 0.25, "mean_iou": 0.1, "iou": [0.2, None, 0.0]},
        {"step": 4, "pixel_accuracy": 0.75, "mean_iou": 0.5, "iou": [0.9, None, 0.1]},
    ]
    (run / "validation.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in scored))
    (run / "metrics.jsonl").write_text('{"step": 4, "loss": 1.0, "seconds": 90.0}\n')
    for name in ("curves.png", "images/step_000004/street/1.png"):
        Image.new("RGB", (8, 8)).save(run / name)


def test_a_run_goes_there_with_its_record_and_back(command, hub, monkeypatch):
    monkeypatch.setitem(PRESETS, "cat-seg-b", small_preset("cat-seg-b"))
    made_run("run")
    options = ("--license", "mit", "--data", "Streets of Ulm, CC BY 4.0", "--private")
    done = command("push", "run", "lab/street", *options).ok()
    assert done.out.startswith(f"-> {hub.url}/lab/street\n") and "--model lab/street" in done.out
    assert "shows 1 of the run's images (--no-images: none)" in done.err
    files = hub.repositories.known["lab/street"].files()
    assert files[SHARED_WEIGHTS] == Path("run", SHARED_WEIGHTS).read_bytes()
    assert "/home/anna" not in files["training.json"].decode() + files[CARD].decode()
    assert json.loads(files["training.json"])["recipe"]["method"] == "network"
    assert json.loads(files[CONFIG])["segvoc"]["words"] == ["sky", "a|b", "none"]
    assert {"card/curves.png", "card/image_1.png"} <= files.keys()
    card = ModelCard(files[CARD].decode())
    assert {one.metric_type: one.metric_value for one in card.data.eval_results} == {"mean_iou": 50.0, "accuracy": 75.0}
    for line in (
        "fine-tuned on 7 labeled images of 3 classes",
        "these 2 words best: *sky*, *a\\|b*.",
        'segvoc segment photo.jpg --model lab/street --words "sky, a|b, none" --background "none"',
        "Measured on 10 images held out from training. Intersection",
        "| sky | 20.0 | 90.0 |",
        "| **mean IoU** | 10.0 | 50.0 |",
        "- **source**: Streets of Ulm, CC BY 4.0",
        "- **time**: 1.5 minutes of steps on a CPU",
        "license **mit**",
        "`training.json` says how it was made",
    ):
        assert line in card.text, line
    found, own = (segvoc.load(name, device="cpu") for name in ("lab/street", "run"))
    photo = made_photograph()
    results = [model.segment(photo, ["sky", "car"], return_probabilities=True).probabilities for model in (found, own)]
    assert np.array_equal(*results)
    assert found.known_words == ("sky", "a|b", "none") and found.known_background == "none"

    assert command("push", "run", "lab/street", "--out", "look", "--no-images").code == 0
    assert Path("look", CARD).exists() and not Path("look/card").exists()
    command("push", "run", "lab/street", "--out", "look").refused("'look' exists already")
    command("push", "run", "lab/street", "--model", "tiny").refused("--model is for files of taught words")
    Path("run", SHARED_WEIGHTS).unlink()
    command("push", "run", "lab/street").refused("isn't finished")


@pytest.mark.slow
def test_taught_words_from_the_hub_label_as_their_file_does_also_without_pytorch(command, hub, monkeypatch):
    segvoc.teach(open_tiny(), drawn_examples(2), keep_worse=True).save("drawn.words.safetensors")
    assert command("push", "drawn.words.safetensors", "lab/words").code == 0
    draw_photos("photo.jpg")
    asked = ("segment", "photo.jpg", "--words", WORDS, "--dtype", "float32")
    assert command(*asked, "--taught", "drawn.words.safetensors", "--out", "own").code == 0
    assert command(*asked, "--model", "lab/words", "--out", "theirs").code == 0
    assert Path("own/photo.png").read_bytes() == Path("theirs/photo.png").read_bytes()
    program = (
        "import sys; from importlib import util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "import segvoc; model = segvoc.load('lab/words')\n"
        "print(type(model).__name__, model.name, len(model.taught[0].words), 'torch' in sys.modules)"
    )
    monkeypatch.setenv("HF_HOME", str(Path("home").absolute()))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    light = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert light.stdout.split() == ["ExportedSegmenter", "lab/words", "3", "False"], light.stderr

"""Networks of parts as people train, look at and score them."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.training.runs import drawn_images

SMALL = "--set crop_size=64 --set short_sides=64 --set batch_size=2 --set num_workers=0 --device cpu".split()
FOLDERS = ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]
OBJECTS = ["--objects", "set/objects", "--object-classes", "set/objects.json"]
RULES = ["--background", "ground", "--object", "sign"]


@pytest.fixture
def folders(tmp_path):
    """Discs on a ground, and maps of the signs that they stand on: the left half of every image."""
    root = tmp_path / "set"
    drawn_images(root, 3)
    (root / "objects").mkdir()
    for number in range(3):
        sign = np.full((48, 64), 255, np.uint8)
        sign[:, :32] = 0
        Image.fromarray(sign).save(root / f"objects/{number}.png")
    (root / "objects.json").write_text('["sign"]')


@pytest.mark.slow
@pytest.mark.usefixtures("folders")
def test_from_images_to_a_network_of_parts_and_its_scores(segvoc_command, tmp_path):
    parallel = ["--set", "order=parallel", "--set", "fusion=experts", "--set", "fod_weight=0.01"]
    segvoc_command(
        "train", "tiny-parts", *FOLDERS, *RULES, *OBJECTS, "--out", "run", "--steps", 2, *SMALL, *parallel
    ).ok()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {"specific", "part", "object", "compositional", "fod", "fod_1", "fod_2"} <= lines[-1].keys()

    told = segvoc_command("info", "run/model.safetensors", "--json")
    facts = json.loads(told.out)
    assert facts["options"] == {"aggregation": "parts", "order": "parallel", "fusion": "experts"}

    report = ["--out", "report", "--json", "--device", "cpu"]
    scored = segvoc_command("evaluate", "run/model.safetensors", *FOLDERS, *RULES, *report).ok()
    names = [entry["name"] for entry in json.loads(scored.out)["classes"]]
    assert names == ["ground", "sign's red disc", "sign's blue disc"]

    again = ["--out", "more", "--steps", 1, *SMALL, "--set", "trunk_lr_scale=0"]
    segvoc_command("train", "finetune", *FOLDERS, *RULES, "--model", "run/model.safetensors", *again).ok()


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["train", "tiny", *FOLDERS, *OBJECTS], "tiny is not trained on separate objects"),
        (["train", "tiny-parts", *FOLDERS, "--objects", "set/objects"], "--objects and --object-classes go together"),
        (["train", "tiny-parts", *FOLDERS, "--object", " "], "the object ' ' has no name"),
        (["train", "part-cat-seg-b", *FOLDERS, *RULES, "--encoder-weights", "clip.pt"], "give both, CLIP first"),
        (
            ["evaluate", "tiny", "--benchmark", "a-150", "--data", "x", "--object", "car"],
            "--object is for your own images",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(segvoc_command, call, said):
    outcome = segvoc_command(*call, "--out", "run")
    assert outcome.code == 2 and said in outcome.err and outcome.err.count("segvoc: error: ") == 1

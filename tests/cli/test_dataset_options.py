"""--dataset of `evaluate`, `teach` and `train`: saved folders, and several joined, renamed, dropped, with a stretch."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.command import Command, read_json
from tests.labeling.formats.test_huggingface import NAMES, datasets, rows


def _yolo(folder: str, names: str) -> None:
    """Four 16-bit images of 12 bits: the upper half is the first word, the rest the second."""
    for kind in ("images", "labels"):
        Path(folder, kind).mkdir(parents=True)
    rng = np.random.default_rng(len(folder))
    for number in range(4):
        pixels = rng.integers(0, 4096, (48, 48)).astype(np.uint16)
        pixels[:24] //= 4
        Image.fromarray(pixels).save(f"{folder}/images/{number}.png")
        Path(folder, f"labels/{number}.txt").write_text("0 0 0 1 0 1 .5 0 .5\n1 0 .5 1 .5 1 1 0 1\n", encoding="utf-8")
    Path(folder, "data.yaml").write_text(f"train: images\nnames: {names}\n", encoding="utf-8")


@pytest.fixture
def segvoc(segvoc_command: Command) -> Command:
    _yolo("one", "[sofa, wall, lamp]")
    _yolo("other", "[couch, wall, sky]")
    return segvoc_command


BOTH = ("--dataset", "one", "--dataset", "other")


@pytest.mark.usefixtures("small_tiny")
def test_evaluate_scores_all_of_them(segvoc: Command) -> None:
    options = (*BOTH, "--rename", "sofa=couch", "--drop", "sky", "--stretch", "0,4095")
    called = segvoc("evaluate", "tiny", *options, "--out", "report", "--json")
    assert called.code == 0 and "segvoc: no pixel is labeled: lamp" in called.err
    report = json.loads(called.out)
    assert [(one["name"], one["pixels"]) for one in report["classes"]] == [("couch", 9216), ("wall", 9216), ("lamp", 0)]
    assert report["data"]["images"] == 8 and report["data"]["absent"] == "no pixel is labeled: lamp"
    source = {"dataset": ["one", "other"], "rename": "sofa=couch", "drop": "sky", "stretch": "0,4095"}
    assert report["data"]["source"] == source
    worst = Image.open(Path("report", report["worst"][0]["photograph"])).convert("L")
    assert worst.getextrema()[1] > 200


def test_refused(segvoc: Command) -> None:
    for options, said in (
        ((*BOTH, "--rename", "sofas=couch"), "no class is called 'sofas' (did you mean sofa?)"),
        ((*BOTH, "--rename", "sofa"), "isn't OLD=NEW"),
        ((*BOTH, "--split", "train", "--split", "val", "--split", "test"), "--split is given 3 times for 2 datasets"),
        ((*BOTH, "--drop", "sofa,couch,wall,lamp,sky"), "words"),
        (("--images", "one/images", "--drop", "sofa"), "--drop needs --dataset"),
        ((*BOTH, "--stretch", "4095"), "is not a stretch"),
    ):
        segvoc("teach", *options, "--out", "a.words.safetensors").refused(said)


@pytest.mark.usefixtures("small_tiny")
def test_segment_reads_12_bits_in_16(segvoc: Command) -> None:
    segvoc("segment", "one/images/0.png", "--words", "couch, wall", "--format", "coco-instances", "--out", "a").ok()
    segvoc("segment", "one/images/0.png", "--words", "couch, wall", "--stretch", "0,4095", "--out", "b").ok()
    assert Image.open("b/0.overlay.png").convert("L").getextrema()[1] > 200


def test_the_commands_take_saved_folders_of_datasets(segvoc_command, small_tiny, tmp_path):
    datasets.DatasetDict(train=rows(2), validation=rows(1)).save_to_disk(tmp_path / "pets")
    call = ["evaluate", "tiny", "--dataset", "pets", "--out", "report", "--device", "cpu"]
    segvoc_command(*call, "--split", "validation").refused("classes.json or id2label.json")
    (tmp_path / "pets/id2label.json").write_text(json.dumps(dict(enumerate(NAMES))))
    segvoc_command(*call).refused("train, validation; choose one with --split")
    segvoc_command(*call, "--split", "validation").ok()
    report = read_json("report/report.json")
    assert report["data"]["evaluated"] == 1 and [one["name"] for one in report["classes"]] == NAMES
    (tmp_path / "pets/validation/dataset_info.json").write_text("{")
    segvoc_command(*call, "--split", "validation").refused("can't be read by datasets")

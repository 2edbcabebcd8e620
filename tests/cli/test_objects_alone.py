"""Data with objects alone: with a background, what is outside all shapes is one class, by every road to labels."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import segvoc
from segvoc.imaging.label_maps import UNLABELED, read_label_map
from segvoc.labeling.formats.dataset import DatasetWriter
from tests.cli.command import Command
from tests.labeling.formats.drawn_results import drawn_result
from tests.training.runs import drawn_images

SHAPES: tuple[str, ...] = ("coco-instances", "cvat", "labelme", "yolo-seg", "label-studio")
COUNT = 4


@pytest.fixture
def command(segvoc_command: Command, small_tiny: None) -> Command:
    return segvoc_command


def write(name: Any, folder: Path = Path("set")) -> Path:
    """The drawn discs in a format, whose ground has no shape; beside them label maps with the ground as a class."""
    maps = drawn_images(Path("maps"), COUNT)
    with DatasetWriter(folder, name) as dataset:
        for number, (image, labels) in enumerate(map(maps.read, range(COUNT))):
            shapes = np.where((labels == 0) | (labels == UNLABELED), np.uint16(UNLABELED), labels - 1)
            result = drawn_result(shapes.astype(np.uint16), ("red disc", "blue disc"))
            dataset.add(replace(result, image=image), str(number))
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_all_formats_have_the_same_background(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    found = segvoc.read_dataset(write(name), background="ground")
    maps = segvoc.LabeledImages.from_folders("maps/images", "maps/labels", "maps/classes.json")
    for index in range(COUNT):
        labels, truth = found.read(index).labels, maps.read(index).labels
        words = np.array(found.vocabulary.words)[labels]
        assert (words == np.array(maps.vocabulary.words)[np.where(truth == UNLABELED, 0, truth)]).all()


def labels_of(command: Command, *options: object) -> list[np.ndarray]:
    done = command("segment", "maps/images", *options, "--out", "out").ok()
    assert "Traceback" not in done.err
    found = []
    for number in range(COUNT):
        names = json.loads(Path(f"out/{number}.json").read_text(encoding="utf-8"))["classes"]
        labels = read_label_map(Path(f"out/{number}.png"))
        found.append(np.array([entry["name"] for entry in names] + ["none"])[np.minimum(labels, len(names))])
    return found


def test_every_road_labels_the_background_alike(command):
    data = ("--dataset", write("coco-instances"))
    said = command("teach", *data, "--background", "ground", "--out", "a.words.safetensors").ok()
    assert "outside of all shapes" not in said.err + said.out and "\nground " in said.out
    taught = ("--taught", "a.words.safetensors")
    own = labels_of(command, *taught)
    assert {"ground", "red disc", "blue disc"} == set(np.unique(own))
    report = ("--dataset", "set", "--background", "ground", *taught, "--json", "--out", "report")
    scored = json.loads(command("evaluate", "tiny", *report).ok().out)
    maps = segvoc.read_dataset("set", background="ground")
    truth = [np.array(maps.vocabulary.words)[maps.read(index).labels] for index in range(COUNT)]
    right = np.mean([(one == other).mean() for one, other in zip(own, truth, strict=True)])
    assert scored["pixel_accuracy"] == pytest.approx(100 * right, abs=1e-6)
    assert scored["data"]["outside"] == {} and right > 0.8
    words = ("--words", "red disc, blue disc")
    for name, shown in (("ground", "ground"), ("the rest", "the rest"), ("auto", "none")):
        other = labels_of(command, *taught, *words, "--background", name)
        pairs = zip(other, own, strict=True)
        same = np.mean([np.where(one == shown, "ground", one) == by_own_name for one, by_own_name in pairs])
        # the network compares the words beside the background's name, which is another one
        assert same == 1 if name == "ground" else same > 0.9


def test_without_a_background_it_is_said_before_and_scored_in_no_table(command):
    data = ("--dataset", write("yolo-seg"))
    sentence = "of the pixels are outside of all shapes: they count neither in learning nor in scores"
    said = command("teach", *data, "--out", "a.words.safetensors").ok()
    assert said.err.count(sentence) == 1 and "--background NAME" in said.err
    assert said.out.count("outside of all shapes, not scored: ") == 1
    done = command("evaluate", "tiny", *data, "--taught", "a.words.safetensors", "--out", "report").ok()
    assert done.err.count(sentence) == 1 and "outside of all shapes, not scored: " in done.out
    outside = json.loads(Path("report/report.json").read_text(encoding="utf-8"))["data"]["outside"]
    assert sum(outside.values()) > 50 and set(outside) <= {"red disc", "blue disc", "unlabeled"}
    assert "outside of all shapes, not scored" in Path("report/index.html").read_text(encoding="utf-8")

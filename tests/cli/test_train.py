"""`segvoc train` as people use it."""

import json
import re

import numpy as np
import pytest
import torch

import segvoc
from segvoc.checkpoints.files import read_header
from segvoc.imaging.reading import read_image
from segvoc.records import to_json
from tests.built import configured
from tests.loopback_hub import use_hub, without_network
from tests.training.runs import drawn_images

SMALL = "--set trunk_lr_scale=0 --set crop_size=64 --set short_sides=64,80 --set num_workers=0 --device cpu".split()


@pytest.fixture
def folders(tmp_path):
    drawn_images(tmp_path / "set", 3)
    return ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_training_gives_a_model_that_segments_and_a_folder_that_tells_all(segvoc_command, folders, tmp_path):
    outcome = segvoc_command("train", "tiny", *folders, "--out", "run", "--steps", 3, *SMALL).ok()
    assert outcome.out == "run/model.safetensors\n"
    run = tmp_path / "run"
    lines = metrics(run)
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(line["loss"] > 0 and line["seconds"] > 0 and line["learning_rate"] > 0 for line in lines)
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"]["optimizer"]["steps"] == 3 and config["recipe"]["model"] == "tiny" and config["seed"] == 0
    (session,) = config["sessions"]
    assert session["command"] and session["machine"]["torch"] == torch.__version__
    assert session["machine"]["threads"] == torch.get_num_threads() and session["machine"]["instruction_set"]
    assert read_image(run / "curves.png").shape[1] > 500
    assert len(read_image(run / "images/step_000003/0.png")) >= 48
    watched = json.loads((run / "watched.jsonl").read_text())
    assert watched["step"] == 3 and 0 <= watched["pixel_accuracy"] <= 1 and len(watched["iou"]) == 3
    header = read_header(run / "model.safetensors")
    assert header.preset == "tiny" and header.record["training"]["recipe"]["optimizer"]["steps"] == 3
    trained, shipped = segvoc.load(run / "model.safetensors"), segvoc.load("tiny")
    assert trained.segment("set/images/0.png", ["red disc", "ground"]).labels.shape == (48, 64)
    names = [name for name, value in shipped.network.state_dict().items() if value.is_floating_point()]
    ours, before = trained.network.state_dict(), shipped.network.state_dict()
    moved = {name for name in names if not np.array_equal(ours[name], before[name])}
    assert moved and all(name.startswith(("image_encoder.project_", "aggregation.")) for name in moved)


@pytest.mark.slow
def test_finetune_leaves_the_network_and_tunes_words(segvoc_command, tmp_path):
    drawn_images(tmp_path / "set", 10)
    folders = ["--images", "set/images", "--labels", "set/labels", "--classes", "set/classes.json"]
    small = ["--set", "crop_size=64", "--set", "short_sides=64,80", "--set", "views=2", "--device", "cpu"]
    call = ["train", "finetune", *folders, "--model", "tiny", "--out", "run", "--steps", 60, *small]
    outcome = segvoc_command(*call).ok()
    path, figures = outcome.out.splitlines()
    assert path == "run/model.safetensors"
    assert re.fullmatch(r"on 2 held-out images: mean IoU [\d.]+ -> [\d.]+ %, pixels right [\d.]+ -> [\d.]+ %", figures)
    run = tmp_path / "run"
    watched = [json.loads(line) for line in (run / "watched.jsonl").read_text().splitlines()]
    assert watched[0]["step"] == 0 and len(watched) > 2
    best = max(watched, key=lambda line: line["mean_iou"])
    assert best["mean_iou"] > watched[0]["mean_iou"]
    assert len(list((run / "before_after").iterdir())) == 2
    config = json.loads((run / "config.json").read_text())["recipe"]
    assert config["method"] == "words" and config["data"]["num_val_images"] == 2 and config["words"]["views"] == 2
    trained, shipped = segvoc.load(run / "model.safetensors", device="cpu"), segvoc.load("tiny", dtype="float32")
    ours, before = trained.network.state_dict(), shipped.network.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in before.items())
    (tuned,) = trained.taught
    assert tuned.record.miou == round(100 * best["mean_iou"], 2)
    words, photo = ["red disc", "ground", "blue disc"], "set/images/0.png"
    labels = trained.segment(photo, words).labels
    assert (labels != shipped.segment(photo, words).labels).any()
    alone = segvoc.TaughtWords.load(run / "tuned.words.safetensors")
    assert (shipped.with_taught(alone).segment(photo, words).labels == labels).mean() > 0.99
    untaught = [trained.segment(photo, ["cat", "tree"]), shipped.segment(photo, ["cat", "tree"])]
    assert np.array_equal(untaught[0].labels, untaught[1].labels)


@pytest.mark.slow
def test_an_aggregation_on_tinys_towers_is_a_setting_and_is_remembered(segvoc_command, folders, tmp_path):
    options = ["--set", "order=serial", "--set", "fusion=last", "--set", "blocks=1"]
    arguments = ["tiny", *folders, "--out", "run", "--steps", 1, *SMALL, *options]
    assert segvoc_command("train", *arguments).code == 0
    trained = segvoc.load(tmp_path / "run/model.safetensors")
    assert type(trained.network.aggregation.blocks[0]).__name__ == "SerialBlock"
    segvoc_command(
        "train", "finetune", *folders, "--model", "run/model.safetensors", "--out", "more", "--steps", 1, *SMALL
    ).ok()
    configuration = read_header(tmp_path / "more/model.safetensors").record["configuration"]
    assert configuration == to_json(configured("tiny", order="serial", fusion="last", blocks=1))


def test_wrong_calls_are_refused_in_one_line(segvoc_command, folders):
    def train(*arguments):
        return segvoc_command("train", *arguments, "--out", "run")

    train("cat-seg").refused("'cat-seg' is unknown (did you mean cat-seg-", "it is finetune or one of cat-seg-b, ")
    train("finetune", *folders).refused("finetune needs a model")
    train("finetune", *folders, "--model", "tinny").refused("'tinny' is unknown")
    train("tiny", *folders, "--track", "none", "--track", "tensorboard").refused("--track none leaves all out")
    train("tiny", *folders, "--track-project", "discs").refused("name it: --track wandb")
    train("finetune", *folders[:4], "--model", "tiny").refused("--classes is missing")
    train("finetune", *folders, "--model", "tiny", "--set", "stpes=1").refused(
        "no setting 'stpes'; did you mean steps?"
    )
    train("finetune", *folders, "--model", "tiny", "--set", "num_val_images=3").refused(
        "num_val_images=3 of 3 images leaves none"
    )
    train("finetune", *folders, "--model", "tiny", "--set", "crop_size=50").refused(
        "crop_size=50 does not divide", "take 48"
    )
    train("finetune", *folders, "--model", "tiny", "--set", "blocks=2").refused(
        "method=words freezes the network", "add method=network"
    )
    train("finetune", *folders, "--model", "tiny", "--background", "sky").refused("'sky' is not one of the classes")
    train("pca-seg-b", *folders).refused("starts from published encoders", "--encoder-weights", "--weights random")
    train("cat-seg-b").refused("segvoc prepare coco-stuff", "name ROOT with --data")
    train("cat-seg-b", "--model", "tiny").refused("leave out --model")
    train("tiny", *folders, "--weights", "none.pt").refused("'none.pt' does not exist")


@pytest.fixture
def captioned(tmp_path):
    """Drawn images with captions; one name in the file has no image."""
    drawn_images(tmp_path / "set", 3)
    captions = {str(number): ["a red disc on the ground", "a blue disc beside a red one"] for number in range(4)}
    (tmp_path / "set/captions.json").write_text(json.dumps(captions))
    return ["tiny-syn", "--images", "set/images", "--captions", "set/captions.json"]


SMALL_SYN = ("--set", "crop_size=64", "--set", "batch_size=2", "--set", "save_every=2", "--device", "cpu")


def test_captions_are_learned_from_with_one_call(segvoc_command, captioned, tmp_path):
    outcome = segvoc_command("train", *captioned, "--out", "run", "--steps", 2, *SMALL_SYN).ok()
    assert "'3' is not in" in outcome.err
    lines = metrics(tmp_path / "run")
    assert len(lines) == 2 and all(line[term] >= 0 for line in lines for term in ("align", "cont", "back", "sep"))
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["captions"]["with_phrases"] == 3 and config["captions"]["phrases"] >= 2
    assert len(read_image(tmp_path / "run/images/step_000002/0.png")) >= 48
    header = read_header(tmp_path / "run/model.safetensors")
    assert header.record["captioned_images"] == 3 and "options" not in header.record
    assert "film" in header.record["configuration"]["aggregation"]
    trained = segvoc.load(tmp_path / "run/model.safetensors", device="cpu")
    result = trained.segment("set/images/0.png", ["red disc", "ground"], background="none")
    assert result.labels.shape == (48, 64)


def test_captions_and_labels_are_not_mixed(segvoc_command, captioned, folders, monkeypatch, tmp_path):
    use_hub(monkeypatch, tmp_path / "home", "http://127.0.0.1:9")
    segvoc_command("train", "tiny-syn", "--out", "run").refused("learns from captions", "--captions captions.json")
    segvoc_command("train", *captioned, *folders[2:], "--out", "run").refused("leave out --labels, --classes")
    segvoc_command("train", *captioned, "--object", "car", "--out", "run").refused("leave out --object")
    call = ["train", "tiny", *folders, "--captions", "c.json", "--out", "run"]
    segvoc_command(*call).refused("tiny learns from label maps; leave out --captions")
    without_network(monkeypatch)
    segvoc_command("train", "syn-seg-b", *captioned[1:], "--out", "run").refused("--encoder-weights")

"""`segvoc train` as people use it: on labeled images, with captions, parts, datasets of others, published encoders."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import segvoc
from segvoc.checkpoints.files import read_header
from segvoc.cli.train import gains
from segvoc.imaging.reading import read_image
from segvoc.models.presets import PRESETS
from segvoc.training.recipes import RECIPES, finetune
from tests.cli.command import read_json
from tests.data.captions.drawn_sets import write_captions
from tests.loopback_hub import use_hub
from tests.official_checkpoints import use_small_published
from tests.papers.small_networks import small_preset as small_preset_of
from tests.training.runs import drawn_images

SMALL = "--set trunk_lr_scale=0 --set crop_size=64 --set short_sides=64,80 --set num_workers=0 --device cpu".split()
FOLDERS = "--images set/images --labels set/labels --classes set/classes.json".split()


@pytest.fixture
def folders(tmp_path):
    drawn_images(tmp_path / "set", 3)
    return FOLDERS


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics(run):
    return lines_of(run / "metrics.jsonl")


def test_training_gives_a_model_that_segments_and_a_folder_that_tells_all(
    segvoc_command, folders, tiny_network, tmp_path
):
    outcome = segvoc_command("train", "tiny", *folders, "--out", "run", "--steps", 2, *SMALL).ok()
    assert outcome.out == "run/model.safetensors\n"
    run = tmp_path / "run"
    lines = metrics(run)
    assert [line["step"] for line in lines] == [1, 2]
    assert all(line["loss"] > 0 and line["seconds"] > 0 and line["learning_rate"] > 0 for line in lines)
    config = read_json(run / "config.json")
    assert config["recipe"]["optimizer"]["steps"] == 2 and config["recipe"]["model"] == "tiny" and config["seed"] == 0
    (session,) = config["sessions"]
    machine = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    assert session["command"] and session["machine"].items() >= machine.items()
    assert read_image(run / "curves.png").shape[1] > 500
    assert len(read_image(run / "images/step_000002/0.png")) >= 48
    validation = read_json(run / "validation.jsonl")
    assert validation["step"] == 2 and 0 <= validation["pixel_accuracy"] <= 1 and len(validation["iou"]) == 3
    header = read_header(run / "model.safetensors")
    assert header.preset == "tiny" and header.record["training"]["recipe"]["optimizer"]["steps"] == 2
    trained = segvoc.load(run / "model.safetensors")
    assert trained.segment("set/images/0.png", ["red disc", "ground"]).labels.shape == (48, 64)
    ours, before = trained.network.state_dict(), tiny_network.network.state_dict()
    moved = {name for name in before if not np.array_equal(ours[name], before[name])}
    assert moved and all(name.startswith(("image_encoder.project_", "aggregation.")) for name in moved)


@pytest.mark.slow
def test_finetune_leaves_the_network_and_tunes_words(segvoc_command, tiny_network, tmp_path):
    drawn_images(tmp_path / "set", 10)
    small = "--set crop_size=64 --set short_sides=64,80 --set views=2 --device cpu --steps 150".split()
    outcome = segvoc_command("train", "finetune", *FOLDERS, "--model", "tiny", "--out", "run", *small).ok()
    path, figures, *_ = outcome.out.splitlines()
    assert path == "run/model.safetensors"
    assert re.fullmatch(
        r"on 2 held-out images: mean IoU [\d.]+ -> [\d.]+ %, pixel accuracy [\d.]+ -> [\d.]+ %", figures
    )
    run = tmp_path / "run"
    validation = lines_of(run / "validation.jsonl")
    best = max(validation, key=lambda line: line["mean_iou"] + line["pixel_accuracy"])
    assert validation[0]["step"] == 0 and len(validation) > 2 and best["mean_iou"] > validation[0]["mean_iou"]
    assert len(list((run / "before_after").iterdir())) == 2
    trained, shipped = segvoc.load(run / "model.safetensors", device="cpu"), tiny_network
    ours, before = trained.network.state_dict(), shipped.network.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in before.items())
    (tuned,) = trained.taught
    assert tuned.record.miou == round(100 * best["mean_iou"], 2)
    for words, same in ((["red disc", "ground", "blue disc"], False), (["cat", "tree"], True)):
        labels = [model.segment("set/images/0.png", words).labels for model in (trained, shipped)]
        assert np.array_equal(*labels) == same


def test_wrong_calls_are_refused_in_one_line(segvoc_command, folders):
    def train(*arguments):
        return segvoc_command("train", *arguments, "--out", "run")

    train("cat-seg").refused("'cat-seg' is unknown (did you mean cat-seg-", "it is finetune or one of cat-seg-b, ")
    train("tiny", *folders, "--track", "none", "--track", "tensorboard").refused("--track none leaves all out")
    train("tiny", *folders, "--track-project", "discs").refused("name it: --track wandb")
    train("finetune", *folders).refused("finetune needs a model")
    train("finetune", *folders, "--model", "tinny").refused("'tinny' is unknown")
    train("finetune", *folders[:4], "--model", "tiny").refused("--classes is missing")
    train("finetune", *folders, "--model", "tiny", "--background", "sky").refused("'sky' is not one of the classes")
    for setting, *said in (
        ("stpes=1", "no setting 'stpes'; did you mean steps?"),
        ("num_val_images=3", "num_val_images=3 of 3 images leaves none"),
        ("crop_size=50", "crop_size=50 does not divide", "take 48"),
        ("blocks=2", "method=words freezes the network", "add method=network"),
    ):
        train("finetune", *folders, "--model", "tiny", "--set", setting).refused(*said)
    train("pca-seg-b", *folders).refused("starts from published encoders", "--encoder-weights", "--weights random")
    train("cat-seg-b").refused("segvoc prepare coco-stuff", "name ROOT with --data")
    train("cat-seg-b", "--model", "tiny").refused("leave out --model")
    train("tiny", *folders, "--weights", "none.pt").refused("'none.pt' does not exist")


def test_another_input_size_resizes_the_crops_unless_their_size_is_given():
    for settings, sizes in ((["input_size=640"], (384, 640)), (["input_size=640", "crop_size=320"], (320, 0))):
        data = RECIPES["cat-seg-b"]().with_settings(settings).data
        assert (data.crop_size, data.resize_crop_to) == sizes


@pytest.fixture
def small_papers(monkeypatch):
    """SynSeg and PCA-Seg for parts with a few thousand parameters."""
    for name in ("syn-seg-b", "pca-part-b"):
        monkeypatch.setitem(PRESETS, name, small_preset_of(PRESETS[name]))


@pytest.fixture
def captioned(tmp_path, small_papers):
    """Drawn images with captions; one name in the file has no image."""
    drawn_images(tmp_path / "set", 3)
    texts = ("a red disc on the ground", "a blue disc beside a red one")
    captions = [(f"{number}.png", text) for number in range(4) for text in texts]
    write_captions(tmp_path / "set/captions.json", *captions)
    return ["syn-seg-b", "--images", "set/images", "--captions", "set/captions.json"]


SMALL_SYN = "--weights random --set crop_size=64 --set batch_size=2 --set num_workers=0 --device cpu".split()


def test_captions_are_learned_from_with_one_call(segvoc_command, captioned, undrawn, tmp_path):
    outcome = segvoc_command("train", *captioned, "--out", "run", "--steps", 2, *SMALL_SYN).ok()
    assert "'3.png' is not in" in outcome.err
    lines = metrics(tmp_path / "run")
    assert len(lines) == 2 and all(line[term] >= 0 for line in lines for term in ("align", "cont", "back", "sep"))
    config = read_json("run/config.json")
    assert config["captions"]["with_phrases"] == 3 and config["captions"]["phrases"] >= 2
    assert len(read_image(tmp_path / "run/images/step_000002/0.png")) >= 48
    header = read_header(tmp_path / "run/model.safetensors")
    assert header.record["captioned_images"] == 3 and "options" not in header.record
    assert "film" in header.record["configuration"]["decoder"]
    trained = segvoc.load(tmp_path / "run/model.safetensors", device="cpu")
    result = trained.segment("set/images/0.png", ["red disc", "ground"], background="none")
    assert result.labels.shape == (48, 64)


def test_captions_and_labels_are_not_mixed(segvoc_command, captioned, folders):
    segvoc_command("train", "syn-seg-b", "--out", "run").refused("learns from captions", "--captions captions.json")
    segvoc_command("train", *captioned, *folders[2:], "--out", "run").refused("leave out --labels, --classes")
    segvoc_command("train", *captioned, "--object", "car", "--out", "run").refused("leave out --object")
    call = ["train", "tiny", *folders, "--captions", "c.json", "--out", "run"]
    segvoc_command(*call).refused("tiny learns from label maps; leave out --captions")


SMALL_PARTS = "--set crop_size=64 --set short_sides=64 --set batch_size=2 --set num_workers=0 --device cpu".split()
OBJECTS = ["--objects", "set/objects", "--object-classes", "set/objects.json"]
RULES = ["--background", "ground", "--object", "sign"]


@pytest.fixture
def folders_of_parts(tmp_path):
    """Discs on a ground, and maps of the signs that they stand on: the left half of every image."""
    root = tmp_path / "set"
    drawn_images(root, 3)
    (root / "objects").mkdir()
    for number in range(3):
        sign = np.full((48, 64), 255, np.uint8)
        sign[:, :32] = 0
        Image.fromarray(sign).save(root / f"objects/{number}.png")
    (root / "objects.json").write_text('["sign"]')


@pytest.mark.usefixtures("folders_of_parts", "small_papers", "undrawn")
def test_from_images_to_a_network_of_parts_and_its_scores(segvoc_command, tmp_path):
    call = ["train", "pca-part-b", *FOLDERS, *RULES, *OBJECTS, "--weights", "random"]
    segvoc_command(*call, "--out", "run", "--steps", 2, *SMALL_PARTS).ok()
    last = metrics(tmp_path / "run")[-1]
    assert {"specific", "part", "object", "compositional", "fod", "fod_1", "fod_2"} <= last.keys()

    scored = ["evaluate", "run/model.safetensors", *FOLDERS, *RULES, "--out", "report", "--json", "--device", "cpu"]
    names = [entry["name"] for entry in json.loads(segvoc_command(*scored).ok().out)["classes"]]
    assert names == ["ground", "sign's red disc", "sign's blue disc"]

    again = ["--out", "more", "--steps", 1, *SMALL_PARTS]
    segvoc_command("train", "finetune", *FOLDERS, *RULES, "--model", "run/model.safetensors", *again).ok()


@pytest.mark.usefixtures("folders_of_parts")
def test_wrong_calls_with_parts_are_refused_in_one_line(segvoc_command):
    for call, said in (
        (["train", "tiny", *FOLDERS, *OBJECTS], "tiny is not trained on separate objects"),
        (["train", "pca-part-b", *FOLDERS, "--objects", "set/objects"], "--objects and --object-classes go together"),
        (["train", "pca-part-b", *FOLDERS, "--object", " "], "the object ' ' has no name"),
        (["evaluate", "tiny", "--benchmark=a-150", "--data=x", "--object", "car"], "--object is for your own images"),
    ):
        segvoc_command(*call, "--out", "run").refused(said)


def test_a_recipe_fetches_its_encoders_and_records_them(segvoc_command, folders, hub, undrawn, monkeypatch, tmp_path):
    use_hub(monkeypatch, tmp_path / "home", hub.url)
    (encoders,) = use_small_published(hub, monkeypatch, "pca-seg-clip-b")
    small = "--set crop_size=96 --set short_sides=96 --set batch_size=1 --set num_workers=0 --set fod_weight=0".split()
    call = ["train", "pca-seg-clip-b", *folders, "--out", "run", "--device", "cpu", *small, "--steps", 1]
    done = segvoc_command(*call).ok()
    assert done.out == "run/model.safetensors\n" and len(hub.transfers()) == 1
    config = read_json("run/config.json")
    assert config["started_from"] == [encoders.record()]
    assert config["start"] == {"weights": None, "encoder_weights": None}
    assert read_header("run/model.safetensors").record["training"]["started_from"] == [encoders.record()]
    shown = segvoc_command("info", "run/model.safetensors").out
    assert "started from:\n" in shown and encoders.sha256 in shown


def test_the_run_records_a_transform_of_the_working_directory_and_goes_on_with_no_other(
    segvoc_command, folders, tmp_path, small_preset, undrawn
):
    mine = "def gray(image, labels, rng):\n    return image // 2 + 64, labels\n"
    (tmp_path / "mine_for_the_test.py").write_text(mine)
    small = ["--steps", 1, "--set", "views=1", "--set", "crop_size=64", "--set", "num_workers=0"]
    call = ["train", "finetune", "--model", "small", "--weights", "random", *folders, "--out", "run", *small]
    segvoc_command(*call, "--transform", "mine_for_the_test:gray").ok()
    assert read_json("run/config.json")["images"]["transform"] == "mine_for_the_test:gray"
    segvoc_command(*call, "--resume").refused("transform")
    problems = {"mine_for_the_test": "MODULE:FUNCTION", "mine_for_the_test:blue": "no function", "nope:f": "nope"}
    for name, problem in problems.items():
        segvoc_command(*call, "--transform", name).refused(problem)


@pytest.mark.parametrize(
    ("after", "last"),
    [
        ((0.2, 0.6), "on 3 held-out images: mean IoU 10.0 -> 20.0 %, pixel accuracy 50.0 -> 60.0 %"),
        ((0.4, 0.3), "worse than before on held-out images: pixel accuracy 50.0 -> 30.0 %; see"),
        ((0.1, 0.4), "no better than before on 3 held-out images, so nothing was learned; see"),
    ],
)
def test_what_fell_by_training_is_said_last(tmp_path, after, last):
    lines = [
        {"step": step, "mean_iou": miou, "pixel_accuracy": accuracy, "outside": {}}
        for step, (miou, accuracy) in enumerate([(0.1, 0.5), after])
    ]
    (tmp_path / "validation.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for method in ("words", "network"):
        *_, said = gains(tmp_path, finetune("tiny", images=30, method=method), are_shapes=False)
        assert said.startswith(last) and ("curves.png" in said) == ("see" in last)


def test_what_is_outside_of_all_shapes_is_said_after_training(tmp_path):
    line = {"step": 0, "mean_iou": 0.1, "pixel_accuracy": 0.1}
    lines = [{**line, "outside": {}}, {"step": 5, "mean_iou": 0.2, "pixel_accuracy": 0.2, "outside": {"door": 0.5}}]
    (tmp_path / "validation.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    *_, said = gains(tmp_path, finetune("tiny", images=30), are_shapes=True)
    assert said == "outside of all shapes, not scored: 50.0% of the pixels, labeled door 50.0%"

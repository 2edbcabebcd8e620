"""`segvoc export` as people use it: a small network on its way from a preset to label maps."""

import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segvoc.imaging.label_maps import read_label_map
from segvoc.models.presets import PRESETS
from segvoc.networks.clip_network import ClipNetworkConfig
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from tests.cli.command import WORDS, Command
from tests.networks.test_part_cat_seg import small as small_part_network
from tests.official_checkpoints import small_preset

MODEL = ("cat-seg-b", "--weights", "random")
needs_export = pytest.mark.skipif(find_spec("onnx_ir") is None, reason="the extra export isn't installed")


@pytest.fixture
def command(segvoc_command: Command, as_users_call: None, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc` where cat-seg-b is small, in a folder with a photograph and a file of words."""
    preset = small_preset("cat-seg-b")
    configuration = preset.configuration
    assert isinstance(configuration, ClipNetworkConfig)
    # programs are for grids that are larger than a window: 4 cells and more here
    configuration = replace(configuration, aggregation=replace(configuration.aggregation, window=3, blocks=1))
    protocols = preset.protocols_of(configuration)
    # one program for words is enough: each takes many seconds to trace
    protocols = {window: replace(way, pooling=protocols["auto"].pooling) for window, way in protocols.items()}
    preset = replace(preset, configuration=configuration, protocols_of=lambda _: protocols)
    monkeypatch.setitem(PRESETS, "cat-seg-b", preset)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((80, 60)).save("photo.png")
    Path("words.txt").write_text("cat\nsofa\nwall")
    return segvoc_command


def _labels(command: Command, out: str, *model: str) -> np.ndarray:
    command("segment", "photo.png", *WORDS, "--out", out, "--model", *model).ok()
    return read_label_map(Path(out) / "photo.png")


@pytest.mark.slow
def test_from_a_preset_to_label_maps(command: Command) -> None:
    done = command("export", *MODEL, "model", "--format", "triton", "--dtype", "int8", "--words-file", "words.txt").ok()
    said = re.fullmatch(
        r"cat-seg-b: logits differ by at most \S+ of the largest, \S+% of the labels are equal -> model\n", done.out
    )
    assert said, done.out
    assert {path.name for path in Path().iterdir()} == {"model", "photo.png", "words.txt"}
    equal = _labels(command, "ours", *MODEL) == _labels(command, "theirs", "./model")
    assert equal.mean() >= 0.5
    refused = command("segment", "photo.png", "--words", "dog", "--model", "./model")
    refused.refused("'dog' is not one of the 3 words that this model was exported with")


@needs_export
def test_wrong_calls_are_refused(command: Command) -> None:
    for option, value, said in (
        ("--format", "coreml", "'coreml' is not one of 'onnx', 'triton'"),
        ("--words-file", "photo.png", "isn't UTF-8 text"),
    ):
        command("export", *MODEL, "model", option, value).refused(said)
    assert not Path("model").exists()


@needs_export
def test_networks_of_parts_have_no_fixed_words(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    preset = replace(PRESETS["part-cat-seg-b"], build=lambda configuration: small_part_network(PART_CAT_SEG))
    monkeypatch.setitem(PRESETS, "part-cat-seg-b", preset)
    done = command("export", "part-cat-seg-b", "model", "--weights", "random", "--words-file", "words.txt")
    done.refused("a part network sorts its words; export it without fixed words")


@needs_export
def test_other_folders_stay(command: Command) -> None:
    Path("photos").mkdir()
    Path("photos/photo.jpg").touch()
    command("export", *MODEL, "photos").refused("'photos' exists and is not an exported model; name another folder")
    assert [path.name for path in Path("photos").iterdir()] == ["photo.jpg"]

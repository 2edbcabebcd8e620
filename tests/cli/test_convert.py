"""`segvoc convert`, and what `info` and `load` make of its files."""

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch.testing import assert_close

import segvoc
from segvoc.checkpoints.files import read_header, read_weights
from segvoc.errors import CheckpointError, UsageError
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.models.opening import load_network
from segvoc.models.presets import PRESETS
from tests.cli.command import Command
from tests.images import one_line_error
from tests.official_checkpoints import KINDS, official_weights, plain_clip, small_preset

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def convert(segvoc_command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`segvoc convert` where the presets are small."""
    for name in KINDS:
        monkeypatch.setitem(PRESETS, name, small_preset(name))
    return lambda *arguments: segvoc_command("convert", *arguments)


def _same(first: NetworkSegmenter, second: NetworkSegmenter) -> bool:
    """Equal up to the last bit of a few numbers: weights lie at other places in memory, and sums take another order."""
    one, other = (model.segment(IMAGE, ["cat", "sofa", "wall"], window="single") for model in (first, second))
    assert len(np.unique(one.labels)) > 1
    close = np.allclose(one.confidence, other.confidence, rtol=0, atol=1e-6)
    return close and bool((one.labels == other.labels).mean() > 0.999)


SOME_KINDS = [pytest.param(one, marks=() if one in ("pca-seg-b", "cat-seg-b") else pytest.mark.slow) for one in KINDS]


@pytest.mark.parametrize("name", SOME_KINDS)
def test_what_is_converted_segments_as_the_official_file(convert: Command, name: str) -> None:
    torch.save({"model": official_weights(name)}, "model_final.pth")
    done = convert("model_final.pth", "new/folder/out.safetensors", "--model", name)
    assert (done.code, done.err) == (0, "")
    assert os.listdir("new/folder") == ["out.safetensors"]
    ours = load_network("new/folder/out.safetensors", device="cpu")
    theirs = load_network(name, weights="model_final.pth", device="cpu")
    assert_close(ours.network.state_dict(), theirs.network.state_dict(), rtol=0, atol=0)
    assert _same(ours, theirs)
    assert _same(load_network(name, weights="new/folder/out.safetensors", device="cpu"), theirs)


def test_the_record_tells_where_the_weights_are_from(convert: Command, segvoc_command: Command) -> None:
    Path("folder").mkdir()
    torch.save(official_weights("pca-seg-b"), "folder/mine.pth")
    done = convert("folder/mine.pth", "out.safetensors", "--model", "pca-seg-b", "--set", "dense=qq")
    digest = hashlib.sha256(Path("folder/mine.pth").read_bytes()).hexdigest()
    (line,) = done.out.splitlines()
    for part in ("folder/mine.pth", f"{len(read_weights('out.safetensors').tensors)} tensors", "-> out.safetensors"):
        assert part in line
    assert f"{digest[:12]}... is of no published file that segvoc knows" in line
    record = read_header("out.safetensors").record
    assert datetime.fromisoformat(record.pop("date")).utcoffset() is not None
    configuration = record.pop("configuration")
    assert configuration["encoder"]["dense"] == "qq" and configuration["aggregation"]["fusion"] == "experts"
    origin = {"origin": "mine.pth", "sha256": digest, "license": "unknown; the original file's"}
    assert record == {"preset": "pca-seg-b", "format": 1, "version": segvoc.__version__, **origin}
    facts = json.loads(segvoc_command("info", "out.safetensors", "--json").out)
    assert (facts["name"], facts["preset"], facts["options"]) == ("out.safetensors", "pca-seg-b", {"dense": "qq"})
    assert facts["parameters"] == sum(facts["parts"].values()) and facts["trainable"] > 0
    assert facts["weights"].items() >= {"status": "file", "sha256": digest, "origin": "mine.pth"}.items()
    assert f"sha256: {digest}" in segvoc_command("info", "out.safetensors").out


@pytest.mark.parametrize("name", SOME_KINDS)
def test_a_plain_clip_gives_the_towers_alone(convert: Command, name: str) -> None:
    torch.save({"state_dict": plain_clip(name), "iteration": 80_000, "optimizer": {"state": {}}}, "clip.pt")
    done = convert("clip.pt", "towers.safetensors", "--model", name)
    assert done.code == 0 and f"tensors of {name}, the towers alone" in done.out
    file = read_weights("towers.safetensors")
    assert file.record["parts"] == ["image_encoder", "text_encoder"]
    torch.save(official_weights(name), "whole.pth")
    whole = load_network(name, weights="whole.pth").network.state_dict()
    assert_close(file.tensors, {key: whole[key] for key in whole if not key.startswith("aggregation.")}, rtol=0, atol=0)


def test_towers_alone_are_refused_as_a_network_and_segment_by_the_cosines(convert, segvoc_command):
    torch.save(plain_clip("pca-seg-b"), "clip.pt")
    convert("clip.pt", "towers.safetensors", "--model", "pca-seg-b", "--set", "dense=qq")
    for arguments in ({"name": "towers.safetensors"}, {"name": "pca-seg-b", "weights": "towers.safetensors"}):
        with one_line_error(CheckpointError, match=r"towers\.safetensors.*towers alone.*aggregation=none"):
            load_network(**arguments)
    cosines = load_network("pca-seg-b", weights="clip.pt", options={"aggregation": "none", "dense": "qq"}, device="cpu")
    none = {"aggregation": "none"}
    assert _same(load_network("towers.safetensors", options=none, device="cpu"), cosines)
    # the same towers under another name
    assert _same(load_network("cat-seg-eva-b", weights="towers.safetensors", options=none, device="cpu"), cosines)
    with pytest.raises(UsageError, match="of another network"):
        load_network("cat-seg-b", weights="towers.safetensors", options=none)


def test_bad_files_are_one_line_and_exit_code_2(convert: Command, segvoc_command: Command) -> None:
    """tests/checkpoints/test_files.py has the many ways in which a file may be none of weights."""
    Path("text.txt").write_bytes(b"weights: none\n")
    weights = {"weight": torch.ones(8, 8), "bias": torch.ones(3)}
    torch.save(weights, "whole.pth")
    safetensors.torch.save_file(weights, "new.safetensors", {"segvoc": '{"preset": "cat-seg-b", "format": 9}'})
    Image.fromarray(IMAGE).save("photo.png")
    before = sorted(os.listdir())
    said = {"text.txt": "neither safetensors", "whole.pth": "of another network", "new.safetensors": "newer"}
    for name, part in (said | {".": "is a folder", "missing.pth": "does not exist", "": "does not exist"}).items():
        convert(name, "out.safetensors", "--model", "cat-seg-b").refused(part, repr(name))
        call = ("segment", "photo.png", "--words", "cat", "--model", "cat-seg-b", "--weights", name)
        segvoc_command(*call).refused(part, repr(name))
    segvoc_command("info", "new.safetensors").refused("new.safetensors")
    segvoc_command("segment", "photo.png", "--words", "cat", "--model", "new.safetensors").refused("new.safetensors")
    assert sorted(os.listdir()) == before


def test_a_wrong_model_is_refused(convert: Command) -> None:
    torch.save(official_weights("cat-seg-b"), "w.pth")
    for model, said in (
        (["cat-seg"], "'cat-seg' is unknown"),
        (["tiny"], "has no official checkpoints"),
        (["cat-seg-b", "--set", "blocks=1"], "of another network"),
        (["pca-seg-clip-b"], "weights of CAT-Seg; load them as one of the cat-seg models"),
        (["cat-seg-eva-b"], "OpenAI CLIP weights, for towers of EVA02-CLIP"),
    ):
        convert("w.pth", "out.safetensors", "--model", *model).refused(said)
    assert os.listdir(".") == ["w.pth"]


def test_nothing_that_stands_at_the_place_is_lost(convert: Command) -> None:
    torch.save(official_weights("cat-seg-b"), "w.pth")
    for name in ("other.safetensors", "w.safetensors"):
        Path(name).write_bytes(b"precious")
    os.link("w.pth", "hard.safetensors")
    os.symlink("w.pth", "link.safetensors")
    os.symlink("other.safetensors", "linked.safetensors")
    Path("folder.safetensors").mkdir()
    for out, said in {
        "w.safetensors": "already exists; choose another name, or replace it with --overwrite",
        "linked.safetensors": "already exists",
        "w.pth": "doesn't end in .safetensors",
        "out": "doesn't end in .safetensors",
        "folder.safetensors": "is a folder",
    }.items():
        convert("w.pth", out, "--model", "cat-seg-b").refused(repr(out), said)
    for out in ("hard.safetensors", "link.safetensors"):
        convert("w.pth", out, "--model", "cat-seg-b", "--overwrite").refused(out, "is the official checkpoint itself")
    assert convert("w.pth", "linked.safetensors", "--model", "cat-seg-b", "--overwrite").code == 0
    assert read_header("linked.safetensors").preset == "cat-seg-b"
    assert Path("other.safetensors").read_bytes() == Path("w.safetensors").read_bytes() == b"precious"

"""Encoders that a run starts from, in the files of other libraries."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from segvoc.checkpoints.files import write_weights
from segvoc.encoders.clip_with_dino import ClipWithDino
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.cost_sum import NoAggregation
from segvoc.models.builders import part_segmentation_network
from segvoc.models.presets import PRESETS
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PART_CAT_SEG
from segvoc.training.recipes import RECIPES
from segvoc.training.start import Start, build
from tests.transformers_models import in_memory, small_dino, small_towers, weights_of

PARTS = RECIPES["part-cat-seg-b"]()


def part_network() -> SegmentationNetwork:
    torch.manual_seed(0)
    clip, text = small_towers()
    tower = ClipWithDino(clip.config, dino=small_dino())
    return part_segmentation_network(replace(PART_CAT_SEG, kind="none"), tower, text)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip").mkdir()
    save_file(weights_of("clip"), "clip/model.safetensors")
    save_file(weights_of("dinov2"), "dinov2.safetensors")
    torch.save({"state_dict": in_memory(weights_of("dinov2"), "dinov2")}, "dinov2.pth")


def started(network: SegmentationNetwork, encoder_weights: str) -> dict[str, Tensor]:
    """What the network has after its start, without aggregation."""
    preset = replace(PRESETS["part-cat-seg-b"], build=lambda _: network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "part-cat-seg-b", preset)
        build(PARTS, Start(encoder_weights=encoder_weights), 0)
    return {name: value for name, value in network.state_dict().items() if not name.startswith("aggregation.")}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("dino", ["dinov2.safetensors", "dinov2.pth"])
def test_a_network_of_parts_starts_from_two_files_of_transformers(dino):
    network = part_network()
    assert isinstance(network.aggregation, NoAggregation)
    state = started(network, f"clip/model.safetensors,{dino}")
    clip, guide = weights_of("clip"), weights_of("dinov2")
    expected = {
        "image_encoder.clip.tower.proj": clip["visual_projection.weight"].T,
        "image_encoder.dino.tower.pos_embed": guide["embeddings.position_embeddings"],
        "text_encoder.tower.text_projection": clip["text_projection.weight"].T,
    }
    for name, value in expected.items():
        assert torch.equal(state[name], value)


@pytest.mark.usefixtures("files")
def test_one_file_or_the_wrong_two_are_told_with_the_mend():
    with pytest.raises(CheckpointError, match=r"two kinds.*--encoder-weights"):
        started(part_network(), "clip/model.safetensors")
    with pytest.raises(CheckpointError, match="does not exist"):
        started(part_network(), "run/model.safetensors")
    with pytest.raises(UsageError, match="names one file"):
        started(part_network(), "clip.pt")
    with pytest.raises(CheckpointError, match="of DINOv2, not of CLIP"):
        started(part_network(), "dinov2.safetensors,clip/model.safetensors")


@pytest.mark.usefixtures("files")
def test_a_file_of_segvoc_has_both_and_stands_alone():
    first = part_network()
    state = {name: value + 1 if value.is_floating_point() else value for name, value in first.state_dict().items()}
    write_weights("run,1.safetensors", state, "part-cat-seg-b")
    after = started(part_network(), "run,1.safetensors")
    assert all(torch.equal(value, state[name]) for name, value in after.items())
    with pytest.raises(UsageError, match="holds all encoders; give only this file"):
        Path("run,1.safetensors").rename("run.safetensors")
        started(part_network(), "run.safetensors,dinov2.pth")

"""The released PartCATSeg's names: the real key list fits exactly, values arrive where they belong."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from segvoc.checkpoints.official_cost_aggregation import part_aggregation_state
from segvoc.errors import CheckpointError
from segvoc.models.conversion import convert
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PartAggregation, none_vector


@pytest.fixture(scope="module")
def keys(golden: Path) -> dict[str, torch.Size]:
    listed = json.loads((golden / "err_part_syn" / "part_aggregator_keys.json").read_text())
    return {name: torch.Size(shape) for name, shape in listed.items()}


def empty(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.golden
def test_the_list_of_real_size_fits_exactly(keys: dict[str, torch.Size]) -> None:
    module = PartAggregation(PART_CAT_SEG, 512, (384, 384))
    state = part_aggregation_state(empty(keys), module)
    module.load_state_dict(state)
    assert torch.equal(state["none"], none_vector(512))
    used = [name for name in keys if not name.startswith("layers_object.") and not name.endswith("attn_mask")]
    assert sum(keys[name].numel() for name in used) == sum(value.numel() for value in state.values()) - 512
    counted = sum(keys[name].numel() for name in keys if not name.endswith("attn_mask"))
    never_used = sum(shape.numel() for name, shape in keys.items() if name.startswith("layers_object.")) - 2 * 82_944
    assert (round(counted / 1e6, 2), round(never_used / 1e6, 2)) == (6.07, 1.35)


def test_a_clip_alone_says_that_dinov2_is_needed_too(tmp_path: Path) -> None:
    torch.save({"visual.transformer.resblocks.0.ln_1.bias": torch.zeros(768)}, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=r"two kinds.*--encoder-weights"):
        convert(tmp_path / "clip.pt", tmp_path / "out.safetensors", "part-cat-seg-b")

"""DINOv2 and the released PartCATSeg into our networks, by all of their names."""

import json
from pathlib import Path

import pytest
import torch

from segvoc.checkpoints.strict import inside
from segvoc.encoders.clip_with_dino import DinoTokens, dino_state
from segvoc.errors import CheckpointError
from segvoc.models.conversion import convert
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PartAggregation, none_vector, part_aggregation_state
from tests.golden_sets import TOLERANCE
from tests.transformers_models import (
    DINO_IMAGES,
    VERSIONS,
    in_memory,
    shapes_of,
    small_dino,
    transformers_case,
    weights_of,
)


@pytest.mark.parametrize("form", ["transformers' file", "transformers' classifier", "version 5", "Meta", "timm"])
def test_tokens_are_those_of_transformers(form):
    """The same weights in every form."""
    dino, file = small_dino(), weights_of("dinov2")
    timms = inside("tower.", dino_state(file, dino))
    classified = {f"dinov2.{name}": value for name, value in file.items()}
    classified |= {"classifier.weight": torch.zeros(5, 64), "classifier.bias": torch.zeros(5)}
    assert {name: value.shape for name, value in classified.items()} == shapes_of("files", "dinov2_classifier")
    weights = {
        "transformers' file": file,
        "transformers' classifier": classified,
        "version 5": in_memory(file, "dinov2"),
        "Meta": timms | {"mask_token": file["embeddings.mask_token"]},
        "timm": timms,
    }[form]
    dino.load_state_dict(dino_state(weights, dino))
    with torch.no_grad():
        tokens = dino(DINO_IMAGES).flatten(2).mT
    for version in VERSIONS:
        assert transformers_case().error(f"{version}.dinov2.tokens", tokens) <= TOLERANCE


def test_every_name_and_shape_of_the_published_size_fits():
    with torch.device("meta"):
        dino = DinoTokens()
        official = {name: torch.empty(shape) for name, shape in shapes_of("full", "dinov2").items()}
    assert dino_state(official, dino).keys() == dino.state_dict().keys()


@pytest.mark.golden
def test_the_list_of_part_cat_segs_keys_fits_exactly(golden: Path) -> None:
    listed = json.loads((golden / "err_part_syn" / "part_aggregator_keys.json").read_text())
    keys = {name: torch.Size(shape) for name, shape in listed.items()}
    module = PartAggregation(PART_CAT_SEG, 512, (384, 384))
    state = part_aggregation_state({name: torch.zeros(shape) for name, shape in keys.items()}, module)
    assert state.keys() == module.state_dict().keys() and torch.equal(state["none"], none_vector(512))
    used = [name for name in keys if not name.startswith("layers_object.") and not name.endswith("attn_mask")]
    assert sum(keys[name].numel() for name in used) == sum(value.numel() for value in state.values()) - 512
    counted = sum(keys[name].numel() for name in keys if not name.endswith("attn_mask"))
    never_used = sum(shape.numel() for name, shape in keys.items() if name.startswith("layers_object.")) - 2 * 82_944
    assert (round(counted / 1e6, 2), round(never_used / 1e6, 2)) == (6.07, 1.35)


def test_a_clip_alone_says_that_dinov2_is_needed_too(tmp_path: Path) -> None:
    torch.save({"visual.transformer.resblocks.0.ln_1.bias": torch.zeros(768)}, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=r"two kinds.*--encoder-weights"):
        convert(tmp_path / "clip.pt", tmp_path / "out.safetensors", "part-cat-seg-b")

"""DINOv2, guidance backbones and the released PartCATSeg into our networks, by all of their names."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from segvoc.checkpoints.official_cost_aggregation import part_aggregation_state
from segvoc.checkpoints.official_towers import backbone_state, dino_state
from segvoc.encoders.clip_with_dino import DinoTokens
from segvoc.encoders.guided_clip import build_backbone
from segvoc.errors import CheckpointError
from segvoc.models.conversion import convert
from segvoc.networks.part_cat_seg import PART_CAT_SEG, PartAggregation, none_vector
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


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, Tensor]]:
    """The same weights in every form."""
    file = weights_of("dinov2")
    classifier = {"classifier.weight": torch.zeros(5, 64), "classifier.bias": torch.zeros(5)}
    classified = {f"dinov2.{name}": value for name, value in file.items()} | classifier
    assert {name: value.shape for name, value in classified.items()} == shapes_of("files", "dinov2_classifier")
    timms = dino_state(file, small_dino())
    ours = {name.removeprefix("tower."): value for name, value in timms.items()}
    return {
        "transformers' file": file,
        "transformers' classifier": classified,
        "version 5 in memory": in_memory(file, "dinov2"),
        "Meta": ours | {"mask_token": file["embeddings.mask_token"]},
        "timm": ours,
    }


FORMS = ("transformers' file", "transformers' classifier", "version 5 in memory", "Meta", "timm")


@pytest.mark.parametrize("form", FORMS)
def test_tokens_are_those_of_transformers(files, form):
    dino = small_dino()
    dino.load_state_dict(dino_state(files[form], dino))
    with torch.no_grad():
        tokens = dino(DINO_IMAGES).flatten(2).mT
    for version in VERSIONS:
        assert transformers_case().error(f"{version}.dinov2.tokens", tokens) <= TOLERANCE


def test_every_name_and_shape_of_the_published_size_fits():
    with torch.device("meta"):
        dino = DinoTokens()
        official = {name: torch.empty(shape) for name, shape in shapes_of("full", "dinov2").items()}
    state = dino_state(official, dino)
    assert {name: x.shape for name, x in state.items()} == {name: x.shape for name, x in dino.state_dict().items()}


def of_the_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Swin's names: a stage ends with its downsampling, and tables are among the weights."""
    renamed = {
        re.sub(r"^layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name): value
        for name, value in state.items()
    }
    tables = ("layers.0.blocks.1.attn_mask", "layers.0.blocks.0.attn.relative_position_index")
    return renamed | {name: torch.zeros(4) for name in tables}


@pytest.mark.parametrize("rename", [dict, of_the_authors], ids=["timm", "authors"])
def test_swins_maps_are_those_of_the_whole_network(rename):
    torch.manual_seed(0)
    sizes = {"img_size": 96, "window_size": 3, "embed_dim": 16, "num_heads": (1, 2, 4, 8), "depths": (2, 2, 4, 2)}
    name = "swin_tiny_patch4_window7_224"
    whole = timm.create_model(name, strict_img_size=False, **sizes).eval()
    ours = timm.create_model(
        name, features_only=True, feature_cls="getter", out_indices=(0, 1, 2), strict_img_size=False, **sizes
    ).eval()
    ours.load_state_dict(backbone_state(rename(whole.state_dict()), ours))
    image = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = whole.forward_intermediates(image, indices=[0, 1, 2], intermediates_only=True)
        for one, other in zip(ours(image), expected, strict=True):
            assert torch.equal(one, other)


def test_swin_b_is_read():
    with torch.device("meta"):
        whole, ours = timm.create_model("swin_base_patch4_window12_384"), build_backbone("swin_b")
    assert backbone_state(whole.state_dict(), ours).keys() == ours.state_dict().keys()


def test_another_network_is_refused():
    with torch.device("meta"):
        ours, other = build_backbone("swin_b"), timm.create_model("resnet18")
    with pytest.raises(CheckpointError, match="guidance backbone's"):
        backbone_state(other.state_dict(), ours)


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

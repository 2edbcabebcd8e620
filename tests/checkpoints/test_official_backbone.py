"""Published ImageNet networks as backbones for guidance: their maps are those of timm's whole networks."""

import re

import pytest
import timm
import torch
from torch import Tensor

from segvoc.checkpoints.official_towers import backbone_state
from segvoc.encoders.guided_clip import build_backbone
from segvoc.errors import CheckpointError


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

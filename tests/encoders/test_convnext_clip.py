"""ConvNeXt-CLIP's image tower against ERR-Seg's values and open_clip's, and its published names."""

from dataclasses import replace

import pytest
import torch
from open_clip.timm_model import TimmModel
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from segvoc.checkpoints.strict import inside
from segvoc.encoders.convnext_clip import (
    ConvNextClipConfig,
    ConvNextClipImageEncoder,
)
from segvoc.models.weightless import weightless
from tests.golden_sets import TOLERANCE, err_case
from tests.networks.contract import make_image

TINY = ConvNextClipConfig(channels=40, widths=(16, 32, 64, 128), depths=(1, 1, 2, 2), input_size=96)
TINY_MLP = replace(TINY, head_width=48)
MEAN, STD = torch.tensor((IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)).view(2, 3, 1, 1)


def build(config: ConvNextClipConfig) -> ConvNextClipImageEncoder:
    """A tower whose blocks have a say: their gammas begin at 1e-6."""
    torch.manual_seed(0)
    tower = ConvNextClipImageEncoder(config).eval()
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if name.endswith(".gamma"):
                parameter.uniform_(0.3, 0.7)
    return tower


@pytest.fixture(params=[TINY, TINY_MLP], ids=["linear", "mlp"])
def tower(request) -> ConvNextClipImageEncoder:
    return build(request.param)


@pytest.mark.golden
def test_both_maps_and_all_taps_are_the_official_ones_and_the_single_map_is_the_ordinary_one(golden):
    case, found = err_case(golden, "err_convnext_small"), []
    weights = {f"visual.{name}": value for name, value in inside("w.", case.tensors).items()}
    for config in (TINY, replace(TINY, hierarchical=False)):
        tower = ConvNextClipImageEncoder(config).eval()
        tower.load_state_dict(tower.published_states(weights, nn.Module())[0])
        with torch.no_grad():
            found.append(tower(255 * (case.tensors["in.image"] * STD + MEAN)))
    features, (single,) = found[0], found[1].maps
    stages = ("os16_dense", "clip_vis_dense", "os32", "os16", "os8", "os4", "clip_vis_dense")
    for stage, ours in zip(stages, (*features.maps, *features.taps, single), strict=True):
        assert case.error(f"out.{stage}", ours) <= TOLERANCE, stage


def test_a_image_between_two_grids_is_refused(tower):
    with pytest.raises(ValueError, match="64x48"):
        tower(make_image(1, 64, 48))


def gradients(tower, stages):
    """Names that a gradient reaches from the sum of these stages."""
    tower.zero_grad()
    torch.stack([x.square().sum() + x.sum() for x in stages]).sum().backward()
    return {n for n, parameter in tower.named_parameters() if parameter.grad is not None and parameter.grad.any()}


def test_gradients_reach_the_pixels_and_every_parameter_but_not_through_the_taps_at_stride_8_and_4(tower):
    image = make_image(1, 64, 96).requires_grad_()
    features = tower(image)
    assert gradients(tower, (*features.maps, *features.taps)) == set(dict(tower.named_parameters()))
    assert image.grad is not None and image.grad.any()
    assert [tap.requires_grad for tap in features.taps] == [True, True, False, False]


@pytest.mark.parametrize(("source", "teachers"), [("both", {0, 1}), ("stride_16", {0}), ("stride_32", {1})])
def test_the_last_stage_learns_from_the_chosen_map_alone(source, teachers):
    tower, image = build(replace(TINY, stage_4_gradient=source)), make_image(1, 64, 64)
    for index, expected in enumerate(build(TINY)(image).maps):
        stage = tower(image).maps[index]
        reached = gradients(tower, [stage])
        assert torch.equal(stage, expected)
        assert any(name.startswith("tower.stages.3.blocks.") for name in reached) == (index in teachers)
        assert {"tower.stages.2.blocks.0.gamma", "project.weight"} <= reached


def test_with_an_mlp_as_head_it_computes_what_open_clip_computes():
    """Of an image of one stride-32 cell, CLIP's embedding is the dense map; the linear head's are golden ones."""
    torch.manual_seed(0)
    config = replace(TINY, widths=(96, 192, 384, 768), depths=(3, 3, 9, 3), head_width=80)
    with weightless():
        published = TimmModel("convnext_tiny", embed_dim=40, proj="mlp", pool="").eval()
        tower = ConvNextClipImageEncoder(config).eval()
    weights = {f"visual.{name}": 0.05 * torch.randn(x.shape) for name, x in published.state_dict().items()}
    published.load_state_dict(inside("visual.", weights), assign=True)
    tower.load_state_dict(tower.published_states(weights, nn.Module())[0], assign=True)
    pixels = make_image(2, 32, 32)
    with torch.no_grad():
        theirs, ours = published((pixels / 255 - MEAN) / STD), tower(pixels).maps[1]
    torch.testing.assert_close(ours.flatten(1), theirs, rtol=1e-4, atol=1e-5)

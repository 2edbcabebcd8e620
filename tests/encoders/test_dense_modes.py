"""Readings of the last block: self-similarities by their formulas, and as both families of encoders use them."""

from typing import Any, cast, get_args

import pytest
import torch
from torch import Tensor, nn

from segvoc.encoders.dense_modes import SELF_SIMILARITIES, DenseMode, OpenAIDenseMode, mix_values, nearness
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig
from tests.networks.contract import make_image

VIT = VitConfig(channels=8, width=16, layers=2, heads=2, patch_size=16, pretrained_size=64, input_size=64, taps=(0,))
GRID = (3, 4)
IMAGE = make_image(2, 48, 64)


def openai(dense: OpenAIDenseMode = "cat-seg") -> OpenAIClipImageEncoder:
    torch.manual_seed(0)
    return OpenAIClipImageEncoder(VIT, dense=dense).eval()


def eva(dense: DenseMode = "csa") -> EvaClipImageEncoder:
    torch.manual_seed(0)
    return EvaClipImageEncoder(VIT, dense=dense).eval()


def attention(x: Tensor, v: Tensor, scale: float, added: Tensor | float = 0.0) -> Tensor:
    """softmax(scale x xᵀ + added) v of two heads, written out."""
    heads = []
    for of_head, value in zip(x.chunk(2, dim=-1), v.chunk(2, dim=-1), strict=True):
        heads.append((scale * of_head @ of_head.mT + added).softmax(dim=-1) @ value)
    return torch.cat(heads, dim=-1)


def gaussian(deviation: float) -> Tensor:
    """Of the distances of a grid's cells."""
    places = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in GRID))
    squared = torch.cdist(places, places) ** 2
    return nn.functional.pad(torch.exp(-squared / (2 * deviation**2)), (1, 0, 1, 0))


def test_nearness_is_the_gaussian_of_the_distance_and_leaves_the_cls_token_out():
    torch.testing.assert_close(nearness(GRID, 1.5, torch.device("cpu")), gaussian(1.5))


@pytest.mark.parametrize("mode", SELF_SIMILARITIES)
def test_values_are_mixed_by_the_formula_of_the_mode(mode):
    generator = torch.Generator().manual_seed(1)
    x = {name: torch.randn(2, 13, 16, generator=generator) for name in "qkv"}
    # "all" compares q, k and v of a head together
    heads = [torch.cat([x[name].chunk(2, dim=-1)[head] for name in "qkv"], dim=-1) for head in (0, 1)]
    expected = {
        "csa": attention(x["q"], x["v"], 1) + attention(x["k"], x["v"], 1),
        "qq": attention(x["q"], x["v"], 1),
        "kk": attention(x["k"], x["v"], 1),
        "vv": attention(x["v"], x["v"], 1),
        "all": attention(torch.cat(heads, dim=-1), x["v"], 1 / 3),
        "clearclip": attention(x["q"], x["v"], 8**-0.5),
        "naclip": attention(x["k"], x["v"], 8**-0.5, gaussian(5.0)),
    }
    torch.testing.assert_close(mix_values(SELF_SIMILARITIES[mode], x.__getitem__, 2, GRID), expected[mode])


@pytest.mark.parametrize("build", [openai, eva])
def test_every_mode_reads_the_same_weights_in_its_own_way(build):
    modes = get_args(OpenAIDenseMode) if build is openai else get_args(DenseMode)
    names = build().state_dict().keys()
    maps = {}
    for mode in modes:
        encoder = build(mode)
        assert encoder.state_dict().keys() == names
        with torch.no_grad():
            maps[mode] = encoder(IMAGE).maps[0]
        assert maps[mode].shape == (2, 8, *GRID) and maps[mode].isfinite().all()
    for one in modes:
        assert [other for other in modes if torch.allclose(maps[one], maps[other], atol=1e-6)] == [one]


def test_openais_readings_are_the_papers():
    vanilla = openai("vanilla")
    block, seen = cast(Any, vanilla.tower.transformer.resblocks[-1]), []
    block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))

    def cells(tokens: Tensor) -> Tensor:
        return (vanilla.tower.ln_post(tokens) @ vanilla.tower.proj)[:, 1:].mT.unflatten(2, GRID)

    with torch.no_grad():
        found, x = vanilla(IMAGE).maps[0], seen[0]
        assert torch.allclose(found, cells(block(x)), atol=1e-6)
        y = block.ln_1(x)
        q, k, v = (getattr(block.attn, f"{name}_proj")(y) for name in "qkv")
        t = x + block.attn.out_proj(v)
        assert torch.allclose(openai("maskclip")(IMAGE).maps[0], cells(t + block.mlp(block.ln_2(t))), atol=1e-6)
        t = block.attn.out_proj(attention(q, v, 8**-0.5))
        assert torch.allclose(openai("clearclip")(IMAGE).maps[0], cells(t), atol=1e-6)
        t = block.attn.out_proj(attention(k, v, 8**-0.5, gaussian(5.0)))
        assert torch.allclose(openai("naclip")(IMAGE).maps[0], cells(t), atol=1e-6)


class _Nearness(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return nearness((image.shape[0], image.shape[1]), 1.5, image.device)


@pytest.mark.usefixtures("as_users_call")
def test_a_traced_nearness_is_that_of_any_grid():
    sides = {0: torch.export.Dim("rows", min=2, max=99), 1: torch.export.Dim("columns", min=2, max=99)}
    traced = torch.export.export(_Nearness(), (torch.zeros(5, 7),), dynamic_shapes=(sides,)).module()
    for grid in ((3, 4), (9, 2)):
        assert torch.equal(traced(torch.zeros(grid)), nearness(grid, 1.5, torch.device("cpu")))

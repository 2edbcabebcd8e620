"""Towers of OpenAI's CLIP and EVA02-CLIP: any grid, the official code's values, readings of the last block."""

from typing import Any, cast, get_args

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from segvoc.encoders.base import CLIP_STATISTICS, ImageFeatures, normalized_pixels
from segvoc.encoders.clip_text import openai_text
from segvoc.encoders.dense_modes import SELF_SIMILARITIES, DenseMode, OpenAIDenseMode, mix_values, nearness
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig, positions_on_grid, vit_b16, vit_l14
from segvoc.errors import UsageError
from tests.golden_sets import full_case
from tests.networks.contract import make_image
from tests.networks.golden_stages import FAMILIES, TINY_VIT, images, tiny


@pytest.fixture(params=[OpenAIClipImageEncoder, EvaClipImageEncoder])
def tower(request):
    torch.manual_seed(0)
    return request.param(TINY_VIT).eval()


def test_a_image_between_two_grids_is_refused(tower):
    with pytest.raises(ValueError, match="100x64"):
        tower(make_image(1, 100, 64))


def test_changed_positions_show_at_once(tower):
    image, positions = make_image(1, 96, 64), next(p for n, p in tower.named_parameters() if "pos" in n)
    with torch.no_grad():
        before = tower(image).maps[0]
        positions.mul_(-3)
        after = tower(image).maps[0]
    assert not torch.allclose(before, after, atol=1e-3)


@pytest.mark.golden
def test_the_whole_tower_still_embeds_a_image(golden):
    """The dense reading leaves the last block's queries and keys out; this one needs them."""
    pixels = normalized_pixels(images("image384_u8"), CLIP_STATISTICS)
    with torch.no_grad():
        embedding = tiny("cat").image_encoder.tower(F.interpolate(pixels, size=224, mode="bilinear"))
    full_case(golden, "tiny_cat_openai").check({"image_embed_224": embedding})


@pytest.mark.parametrize(("name", "vit"), [("ViT-B-16-quickgelu", vit_b16()), ("ViT-L-14-336-quickgelu", vit_l14())])
def test_heads_and_activation_are_those_of_open_clip(name, vit):
    """What no shape of a weight shows."""
    published, text = open_clip.get_model_config(name), openai_text(vit.channels)
    assert published is not None and published["quick_gelu"] and text.quick_gelu
    assert (vit.heads, text.heads) == (published["vision_cfg"]["width"] // 64, published["text_cfg"]["heads"])


@pytest.mark.golden
@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_embeddings_of_the_prompts_whatever_the_padding(golden, family):
    encoder, case = tiny(family).text_encoder, full_case(golden, FAMILIES[family].tiny)
    stored = load_file(golden / "cat_pca" / f"{FAMILIES[family].tiny}_weights.safetensors")["@tokens"]
    tokens = encoder.tokenize([f"A photo of a {name.split(', ')[0]} in the scene" for name in case.record["classes"]])
    assert torch.equal(tokens, stored[:, : tokens.shape[1]]) and not stored[:, tokens.shape[1] :].any()
    for length in (77, 12):
        with torch.no_grad():
            raw, embeddings = encoder.tower(stored[:, :length]), encoder(stored[:, :length])
        case.check({"encode_text_raw": raw, "eval384.text": embeddings[None, :, None]})


@pytest.mark.parametrize("grid", [(14, 14), (18, 32), (3, 5)])
def test_positions_are_timms(grid):
    table = torch.randn(1, 1 + 14 * 14, 12)
    expected = resample_abs_pos_embed(table, list(grid), antialias=False)
    torch.testing.assert_close(positions_on_grid(table, grid, 14), expected, rtol=0, atol=1e-5)


def test_named_maps_come_back_in_the_order_of_their_numbers() -> None:
    maps = tuple(torch.full((1, 4, 2, 2), float(number)) for number in range(12))
    found = ImageFeatures.of_named(ImageFeatures(maps=maps, taps=maps[::-1]).named())
    assert [int(one[0, 0, 0, 0]) for one in found.maps] == list(range(12))
    assert [int(one[0, 0, 0, 0]) for one in found.taps] == list(range(11, -1, -1))


@pytest.mark.parametrize("taps", [(0, 2), (1, 0), (0, 0), (-1,)])
def test_taps_that_no_block_gives_are_refused(taps: tuple[int, ...]) -> None:
    sizes = {"channels": 8, "width": 16, "heads": 2, "patch_size": 4, "pretrained_size": 16, "input_size": 16}
    with pytest.raises(UsageError, match="are not blocks of a transformer with 3; give increasing numbers from 0 to 1"):
        VitConfig(layers=3, taps=taps, **sizes)
    vit = VitConfig(layers=3, taps=(0, 1), **sizes)
    encoder = OpenAIClipImageEncoder(vit)
    assert len(encoder(torch.zeros(1, 3, 16, 16)).taps) == len(encoder.tap_channels) == 2


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

"""Towers of OpenAI's CLIP and EVA02-CLIP against the official code's values, and the contract of image towers."""

import json
import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from timm.layers.pos_embed import resample_abs_pos_embed

from segvoc.encoders.base import CLIP_STATISTICS, ImageFeatures, normalized_pixels
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, openai_text
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.official_clip import eva_clip_states, openai_clip_states
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig, positions_on_grid, vit_b16, vit_l14
from segvoc.errors import UsageError
from tests.encoders.image_tower_contract import TINY_VIT, ImageTowerContract, make_image
from tests.golden_rules import golden_clip_weights, relative_error
from tests.golden_sets import TOLERANCE, full_case


class TestOpenAIClipImageEncoder(ImageTowerContract):
    build = OpenAIClipImageEncoder
    unused = r"tower\.transformer\.resblocks\.8\.attn\.[qk]_proj\."


@pytest.mark.golden
def test_the_whole_tower_still_embeds_a_image(golden):
    """The dense reading leaves the last block's queries and keys out; this one needs them."""
    case, tower = full_case(golden, "tiny_cat_openai"), OpenAIClipImageEncoder(TINY_VIT).eval()
    text = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=True, fine_tuned="qv")
    with torch.device("meta"):
        text_encoder = ClipTextEncoder(text)
    tower.load_state_dict(openai_clip_states(golden_clip_weights(golden, "tiny_cat_openai"), tower, text_encoder)[0])
    pixels = normalized_pixels(case.tensors["image384_u8"][None].float(), CLIP_STATISTICS)
    with torch.no_grad():
        embedding = tower.tower(F.interpolate(pixels, size=224, mode="bilinear"))
    assert case.error("image_embed_224", embedding) <= TOLERANCE


@pytest.mark.parametrize(("name", "config"), [("ViT-B-16-quickgelu", vit_b16()), ("ViT-L-14-336-quickgelu", vit_l14())])
def test_sizes_are_those_of_open_clip(name, config):
    published = open_clip.get_model_config(name)
    assert published is not None and published["quick_gelu"]
    vision = published["vision_cfg"]
    ours = (config.channels, config.width, config.layers, config.patch_size, config.pretrained_size, config.heads)
    theirs = (published["embed_dim"], *(vision[key] for key in ("width", "layers", "patch_size", "image_size")))
    assert ours == (*theirs, vision["width"] // 64)


class TestEvaClipImageEncoder(ImageTowerContract):
    build = EvaClipImageEncoder
    unused = r"tower\.blocks\.8\.(norm2|mlp)\."  # the csa reading stops after the attention


@pytest.mark.golden
def test_rotary_angles_are_the_stored_table_on_the_native_grid(golden):
    stored = load_file(golden / "cat_pca" / "tiny_pca_eva_weights.safetensors")
    cosine, sine = (stored[f"sem_seg_head.predictor.clip_model.visual.rope.freqs_{part}"] for part in ("cos", "sin"))
    seen, tower = {}, EvaClipImageEncoder(TINY_VIT)
    tower.tower.blocks[0].register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True)
    side = TINY_VIT.patch_size * math.isqrt(len(cosine))
    with torch.no_grad():
        tower(make_image(1, side, side))
    torch.testing.assert_close(seen["rope"], torch.cat([sine, cosine], dim=-1), rtol=0, atol=1e-5)


TINY_OPENAI = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=True, fine_tuned="qv")
TINY_EVA = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=False, fine_tuned="qkv")


@pytest.fixture(scope="module", params=["tiny_cat_openai", "tiny_pca_eva"])
def case(request, golden):
    if request.param == "tiny_cat_openai":
        config, image, states = TINY_OPENAI, OpenAIClipImageEncoder(TINY_VIT), openai_clip_states
    else:
        config, image, states = TINY_EVA, EvaClipImageEncoder(TINY_VIT), eva_clip_states
    encoder = ClipTextEncoder(config)
    encoder.load_state_dict(states(golden_clip_weights(golden, request.param), image, encoder)[1])
    files = (load_file(golden / "cat_pca" / f"{request.param}_{part}.safetensors") for part in ("weights", "outputs"))
    return encoder.eval(), *files


@pytest.mark.golden
def test_tokens_and_embeddings_of_the_prompts_whatever_the_padding(case, golden):
    encoder, stored, outputs = case
    classes = json.loads((golden / "cat_pca" / "tiny_classes.json").read_text())
    tokens = encoder.tokenize([f"A photo of a {name.split(', ')[0]} in the scene" for name in classes])
    assert torch.equal(tokens, stored["@tokens"][:, : tokens.shape[1]])
    assert not stored["@tokens"][:, tokens.shape[1] :].any()
    for length in (77, 12):
        tokens = stored["@tokens"][:, :length]
        with torch.no_grad():
            assert relative_error(encoder.tower(tokens), outputs["encode_text_raw"]) <= 1e-4
            assert relative_error(encoder(tokens), outputs["eval384.text"][0, :, 0]) <= 1e-4


def test_gradients_reach_every_parameter_but_the_temperature():
    encoder = ClipTextEncoder(TINY_OPENAI)
    encoder(encoder.tokenize(["a red car", "dog"])).mean().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == ["logit_scale"]


@pytest.mark.parametrize("grid", [(24, 24), (14, 14), (18, 32), (3, 5)])
def test_positions_are_timms(grid):
    table = torch.randn(1, 1 + 14 * 14, 12)
    expected = resample_abs_pos_embed(table, list(grid), antialias=False)
    torch.testing.assert_close(positions_on_grid(table, grid, 14), expected, rtol=0, atol=1e-5)


def test_named_maps_come_back_in_the_order_of_their_numbers() -> None:
    maps = tuple(torch.full((1, 4, 2, 2), float(number)) for number in range(12))
    found = ImageFeatures.of_named(ImageFeatures(maps=maps, taps=maps[::-1]).named())
    assert [int(one[0, 0, 0, 0]) for one in found.maps] == list(range(12))
    assert [int(one[0, 0, 0, 0]) for one in found.taps] == list(range(11, -1, -1))


@pytest.mark.parametrize("taps", [(0, 2), (3,), (1, 0), (0, 0), (-1,)])
def test_taps_that_no_block_gives_are_refused(taps: tuple[int, ...]) -> None:
    sizes = {"channels": 8, "width": 16, "heads": 2, "patch_size": 4, "pretrained_size": 16, "input_size": 16}
    with pytest.raises(UsageError, match="are not blocks of a transformer with 3; give increasing numbers from 0 to 1"):
        VitConfig(layers=3, taps=taps, **sizes)
    vit = VitConfig(layers=3, taps=(0, 1), **sizes)
    encoder = OpenAIClipImageEncoder(vit)
    assert len(encoder(torch.zeros(1, 3, 16, 16)).taps) == len(encoder.tap_channels) == 2


@pytest.mark.parametrize(("model", "vit"), [("ViT-B-16", vit_b16()), ("ViT-L-14", vit_l14())])
def test_the_text_encoder_of_open_clips_vits_has_its_size(model: str, vit: VitConfig) -> None:
    ours, theirs = openai_text(vit.channels, quick_gelu=False), open_clip.get_model_config(model)
    sizes = {name: getattr(ours, name) for name in ("context_length", "width", "heads", "layers")}
    assert theirs is not None and theirs["embed_dim"] == ours.channels and not ours.quick_gelu
    assert {name: theirs["text_cfg"][name] for name in sizes} == sizes

"""Published CLIPs into our towers: every form in every container fits exactly, or one line says what doesn't."""

from dataclasses import replace
from functools import cache
from typing import Any

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.strict import renamed
from segvoc.encoders.base import CLIP_STATISTICS, normalized_pixels
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, convnext_text, eva_text
from segvoc.encoders.convnext_clip import (
    ERR_CLIP,
    ConvNextClipConfig,
    ConvNextClipImageEncoder,
    convnext_base_w,
    with_stride_one,
)
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig, vit_b16
from segvoc.errors import ActivationWarning, CheckpointError
from tests import transformers_models as transformers
from tests.built import loaded
from tests.encoders.test_convnext_clip import TINY
from tests.golden_sets import TOLERANCE
from tests.networks.contract import make_image
from tests.timm_clips import small_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

VIT = VitConfig(channels=40, width=64, layers=2, heads=1, patch_size=16, pretrained_size=64, input_size=64, taps=(0,))
TEXT = ClipTextConfig(channels=40, width=16, layers=2, heads=1, quick_gelu=True, fine_tuned="qv")
NOT_TIMMS = (
    (r"\.attn\.([qv])_proj\.bias", r".attn.\1_bias"), (r"\.attn\.norm\.", ".attn.inner_attn_ln."),
    (r"\.mlp\.fc1_g\.", ".mlp.w1."), (r"\.mlp\.fc1_x\.", ".mlp.w2."), (r"\.mlp\.norm\.", ".mlp.ffn_ln."),
    (r"\.mlp\.fc2\.", ".mlp.w3."),
)  # fmt: skip
"""From timm's names in EVA's blocks to those of its authors."""


@cache
def open_clips() -> open_clip.CLIP:
    """A CLIP of open_clip, whose names are OpenAI's."""
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=2, width=64, head_width=64, patch_size=16, image_size=64)
    return open_clip.CLIP(40, vision, open_clip.CLIPTextCfg(width=16, heads=1, layers=2), quick_gelu=True).eval()


def text(prefix: str) -> dict[str, Tensor]:
    weights = {name: value for name, value in open_clips().state_dict().items() if not name.startswith("visual.")}
    return {name if name == "logit_scale" else f"{prefix}{name}": value for name, value in weights.items()}


@cache
def trunk() -> Any:
    torch.manual_seed(0)
    name = "eva02_base_patch16_clip_224"
    return timm.create_model(name, embed_dim=64, depth=2, num_heads=1, num_classes=40, img_size=64).eval()


def timms_eva() -> dict[str, Tensor]:
    return {f"visual.trunk.{name}": value for name, value in trunk().state_dict().items()} | text("text.")


def authors_eva(prefix: str) -> dict[str, Tensor]:
    image = {f"visual.{renamed(name, NOT_TIMMS)}": value for name, value in trunk().state_dict().items()}
    return text(prefix) | image | {"visual.rope.freqs_cos": torch.zeros(16, 64)}


def convnext() -> dict[str, Tensor]:
    torch.manual_seed(0)
    image = ConvNextClipImageEncoder(replace(TINY, hierarchical=False)).state_dict()
    names = {name: name.replace("tower.", "trunk.").replace("project.", "head.proj.") for name in image}
    return {f"visual.{names[name]}": value for name, value in image.items()} | text("")


def openai_towers(vit: VitConfig = VIT, text: ClipTextConfig = TEXT) -> tuple[OpenAIClipImageEncoder, ClipTextEncoder]:
    return OpenAIClipImageEncoder(vit).eval(), ClipTextEncoder(text).eval()


def eva_towers(vit: VitConfig = VIT, text: ClipTextConfig = TEXT) -> tuple[EvaClipImageEncoder, ClipTextEncoder]:
    return EvaClipImageEncoder(vit), ClipTextEncoder(text)


def convnext_towers(image: ConvNextClipConfig = TINY, text: ClipTextConfig = TEXT) -> tuple[nn.Module, nn.Module]:
    return ConvNextClipImageEncoder(image), ClipTextEncoder(text)


@pytest.mark.filterwarnings("error::segvoc.errors.ActivationWarning")
def test_an_activation_that_isnt_known_is_said() -> None:
    weights = open_clips().state_dict()
    with pytest.warns(ActivationWarning, match="activation=gelu"):
        towers_state(weights, *openai_towers())
    towers_state({**weights, "input_resolution": torch.tensor(64)}, *openai_towers())
    towers_state(weights, OpenAIClipImageEncoder(VIT, activation="gelu"), ClipTextEncoder(TEXT))


@pytest.mark.parametrize("prefix", ["text.", ""], ids=["now", "at first"])
def test_evas_authors_weights_are_those_of_open_clip_by_other_names(prefix: str) -> None:
    authors, open_clips = authors_eva(prefix), timms_eva()
    assert is_plain_clip(authors) and is_plain_clip(open_clips)
    for state, same in zip(towers_state(authors, *eva_towers()), towers_state(open_clips, *eva_towers()), strict=True):
        assert state.keys() == same.keys() and all(torch.equal(state[name], same[name]) for name in state)


def test_a_packed_open_clip_model_gives_the_same_embeddings():
    image, text = loaded(open_clips().state_dict(), *openai_towers())
    tokens, pixels = text.tokenize(["cat", "a red car"]), make_image(2, 64, 64) / 255
    with torch.no_grad():
        torch.testing.assert_close(image.tower(pixels), open_clips().encode_image(pixels), rtol=1e-4, atol=1e-5)
        padded = F.pad(tokens, (0, 77 - tokens.shape[1]))
        theirs = open_clips().encode_text(padded, normalize=True)
        torch.testing.assert_close(text(tokens), theirs, rtol=1e-4, atol=1e-5)
    assert torch.equal(text.logit_scale, open_clips().logit_scale)


def test_eva_as_open_clip_publishes_it_computes_what_timm_computes_and_positions_are_resized():
    tower, encoder = EvaClipImageEncoder(VIT, dense="vanilla").eval(), ClipTextEncoder(TEXT)
    loaded(weights := timms_eva(), tower, encoder)
    pixels = make_image(2, 64, 64)
    with torch.no_grad():
        theirs = trunk().head(trunk().forward_features(normalized_pixels(pixels, CLIP_STATISTICS))[:, 1:])
        ours = tower(pixels).maps[0]
    torch.testing.assert_close(ours.flatten(2).mT, F.normalize(theirs, dim=-1), rtol=1e-4, atol=1e-5)
    smooth = torch.linspace(0, 1, 8).expand(8, 8).reshape(1, -1, 1).expand(1, 64, 64)
    weights["visual.trunk.pos_embed"] = torch.cat([torch.zeros(1, 1, 64), smooth], dim=1)
    grid = towers_state(weights, tower, encoder)[0]["tower.pos_embed"][0, 1:, 0].reshape(4, 4)
    torch.testing.assert_close(grid[0], grid[3])
    assert (grid[0].diff() > 0).all()


@pytest.mark.parametrize("shape", [(), (2, 64)])
def test_a_packed_matrix_that_has_no_three_parts_is_told(shape):
    name = "transformer.resblocks.0.attn.in_proj_weight"
    with pytest.raises(CheckpointError, match=rf"unexpected {name}"):
        towers_state({**open_clips().state_dict(), name: torch.zeros(shape)}, *openai_towers())


@pytest.mark.parametrize(
    ("model", "towers"),
    [
        ("EVA02-B-16", lambda: eva_towers(vit_b16(), eva_text(512))),
        ("convnext_base_w_320", lambda: convnext_towers(convnext_base_w(), convnext_text(640, 12))),
    ],
)
def test_every_name_and_shape_of_open_clips_models_fits(model, towers):
    """Sizes of all towers are compared with the released networks' key lists."""
    with torch.device("meta"):
        ours = towers()
        official = open_clip.create_model(model, device="meta").state_dict()
    for tower, state in zip(ours, towers_state(official, *ours), strict=True):
        assert state.keys() == tower.state_dict().keys()


ADDED = {f"stride_one.0.{name}" for name in ("norm.weight", "norm.bias", "conv.weight", "conv.bias")}


def test_stride_one_begins_as_the_last_stage_in_a_plain_clip_and_is_left_out_without_the_hierarchy():
    plain, last = convnext(), "tower.stages.3.downsample."
    assert is_plain_clip(plain)
    state, _ = towers_state(plain, *convnext_towers())
    for name in ADDED:
        original = state[name.replace("stride_one.0.norm", f"{last}0").replace("stride_one.0.conv", f"{last}1")]
        assert torch.equal(state[name], original) and state[name].data_ptr() != original.data_ptr()
    for official in (plain, with_stride_one(plain)):
        single, _ = towers_state(official, *convnext_towers(replace(TINY, hierarchical=False)))
        assert single.keys() == state.keys() - ADDED
    with pytest.raises(CheckpointError, match=r"missing image\.stride_one\.0\.norm\.weight"):  # nor a released one
        towers_state({f"{ERR_CLIP}{n}": x for n, x in plain.items()}, *convnext_towers())


def assert_transformers(model: str, **outputs: Tensor) -> None:
    for version in transformers.VERSIONS:
        for name, ours in outputs.items():
            assert transformers.transformers_case().error(f"{version}.{model}.{name}", ours) <= TOLERANCE


@pytest.mark.parametrize("buffers", [{}, {"text": 77, "vision": 17}], ids=["", "early versions"])
def test_outputs_are_those_of_transformers(buffers, tmp_path):
    early = {f"{kind}_model.embeddings.position_ids": torch.arange(count)[None] for kind, count in buffers.items()}
    save_file(transformers.weights_of("clip") | early, tmp_path / "model.safetensors")
    read = read_weights(tmp_path / "model.safetensors").tensors
    assert is_plain_clip(read)
    image, text = loaded(read, *transformers.small_towers())
    with torch.no_grad():
        *_, deepest = image.tokens(transformers.CLIP_IMAGES, dense=False).taps
        state = image.tower.transformer.resblocks[-1](deepest)
        pooled = F.normalize(image.tower.ln_post(state[:, 0]) @ image.tower.proj, dim=-1)
        words = text(text.tokenize(transformers.PHRASES))
    assert_transformers("clip", last_hidden_state=state, image_embeds=pooled, text_embeds=words)


def test_outputs_of_siglip_are_those_of_transformers(tmp_path):
    weights = transformers.weights_of("siglip") | {"vision_model.embeddings.position_ids": torch.arange(16)[None]}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text(small_tokenizer().to_str())
    read = read_weights(tmp_path / "model.safetensors").tensors
    assert is_plain_clip(read)
    image, text = loaded(read, *transformers.small_siglip())
    pixels = normalized_pixels(transformers.CLIP_IMAGES, transformers.STATISTICS["siglip"])
    assert tuple(image.tower.pretrained_cfg[name] for name in ("mean", "std")) == transformers.STATISTICS["siglip"]
    with torch.no_grad():
        state = image.tower.forward_features(pixels)
        pooled, words = F.normalize(image.tower.forward_head(state), dim=-1), text(transformers.SIGLIP_TOKENS)
    assert text.tokenize(["a cat"])[0, :5].tolist() == small_tokenizer().encode("a cat").ids[:5]
    assert_transformers("siglip", last_hidden_state=state, image_embeds=pooled, text_embeds=words)

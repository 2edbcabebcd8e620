"""Transformers' CLIP into our towers: its own outputs, and the same weights as OpenAI names them."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from segvoc.checkpoints.files import read_weights
from segvoc.encoders.base import normalized_pixels
from segvoc.encoders.clip_text import ClipTextEncoder, openai_text
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import vit_b16, vit_l14
from tests.built import loaded
from tests.golden_sets import TOLERANCE
from tests.timm_clips import small_tokenizer
from tests.transformers_models import (
    CLIP_IMAGES,
    PHRASES,
    SIGLIP_TOKENS,
    STATISTICS,
    VERSIONS,
    shapes_of,
    small_siglip,
    small_towers,
    transformers_case,
    weights_of,
)


@pytest.mark.parametrize("buffers", [{}, {"text": 77, "vision": 17}], ids=["", "early versions"])
def test_outputs_are_those_of_transformers(buffers, tmp_path):
    early = {f"{kind}_model.embeddings.position_ids": torch.arange(count)[None] for kind, count in buffers.items()}
    save_file(weights_of("clip") | early, tmp_path / "model.safetensors")
    image, text = loaded(read_weights(tmp_path / "model.safetensors").tensors, *small_towers())
    case = transformers_case()
    with torch.no_grad():
        *_, deepest = image.tokens(CLIP_IMAGES, dense=False).taps
        state = image.tower.transformer.resblocks[-1](deepest)
        pooled = F.normalize(image.tower.ln_post(state[:, 0]) @ image.tower.proj, dim=-1)
        words = text(text.tokenize(PHRASES))
    for version in VERSIONS:
        assert case.error(f"{version}.clip.last_hidden_state", state) <= TOLERANCE
        assert case.error(f"{version}.clip.image_embeds", pooled) <= TOLERANCE
        assert case.error(f"{version}.clip.text_embeds", words) <= TOLERANCE


def test_outputs_of_siglip_are_those_of_transformers(tmp_path):
    weights = weights_of("siglip") | {"vision_model.embeddings.position_ids": torch.arange(16)[None]}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text(small_tokenizer().to_str())
    read = read_weights(tmp_path / "model.safetensors").tensors
    assert is_plain_clip(read)
    image, text = loaded(read, *small_siglip())
    case, pixels = transformers_case(), normalized_pixels(CLIP_IMAGES, STATISTICS["siglip"])
    assert tuple(image.tower.pretrained_cfg[name] for name in ("mean", "std")) == STATISTICS["siglip"]
    with torch.no_grad():
        state = image.tower.forward_features(pixels)
        pooled, words = F.normalize(image.tower.forward_head(state), dim=-1), text(SIGLIP_TOKENS)
    assert text.tokenize(["a cat"])[0, :5].tolist() == small_tokenizer().encode("a cat").ids[:5]
    for version in VERSIONS:
        assert case.error(f"{version}.siglip.last_hidden_state", state) <= TOLERANCE
        assert case.error(f"{version}.siglip.image_embeds", pooled) <= TOLERANCE
        assert case.error(f"{version}.siglip.text_embeds", words) <= TOLERANCE


@pytest.mark.parametrize(
    ("vit", "model"), [(vit_b16(), "clip"), (vit_l14(), "clip_l")], ids=["ViT-B/16", "ViT-L/14@336"]
)
def test_every_name_and_shape_of_the_published_sizes_fits(vit, model):
    with torch.device("meta"):
        towers = OpenAIClipImageEncoder(vit), ClipTextEncoder(openai_text(vit.channels))
        official = {name: torch.empty(shape) for name, shape in shapes_of("full", model).items()}
    for tower, state in zip(towers, towers_state(official, *towers), strict=True):
        assert state.keys() == tower.state_dict().keys()

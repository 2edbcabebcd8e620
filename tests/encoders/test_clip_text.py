"""The text towers against the official code's values; prompts, gradients, and what the recipes train."""

import json

import pytest
import torch
from safetensors.torch import load_file

from segvoc.checkpoints.official_clip import eva_clip_states, openai_clip_states
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from tests.encoders.image_tower_contract import TINY_VIT
from tests.golden_rules import golden_clip_weights, relative_error

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

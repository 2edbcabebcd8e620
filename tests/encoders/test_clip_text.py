"""The text towers against the official code's values; prompts, gradients, and what the recipes train."""

import json

import pytest
import torch
from safetensors.torch import load_file

from segvoc.checkpoints.official_clip import eva_clip_states, openai_clip_states
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import PromptTruncatedWarning
from tests.encoders.image_tower_contract import TINY_VIT
from tests.golden_rules import golden_clip_weights, relative_error

TINY_OPENAI = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=True, fine_tuned="qv")
TINY_EVA = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=False, fine_tuned="qkv")


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return ClipTextEncoder(TINY_OPENAI).eval()


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
class TestGolden:
    def test_tokens_of_the_prompts(self, case, golden):
        encoder, stored, _ = case
        classes = json.loads((golden / "cat_pca" / "tiny_classes.json").read_text())
        tokens = encoder.tokenize([f"A photo of a {name.split(', ')[0]} in the scene" for name in classes])
        assert torch.equal(tokens, stored["@tokens"][:, : tokens.shape[1]])
        assert not stored["@tokens"][:, tokens.shape[1] :].any()

    @pytest.mark.parametrize("length", [77, 12])
    def test_embeddings_of_the_prompts_whatever_the_padding(self, case, length):
        encoder, stored, outputs = case
        tokens = stored["@tokens"][:, :length]
        with torch.no_grad():
            assert relative_error(encoder.tower(tokens), outputs["encode_text_raw"]) <= 1e-4
            assert relative_error(encoder(tokens), outputs["eval384.text"][0, :, 0]) <= 1e-4


class TestPrompts:
    def test_a_long_prompt_is_cut_with_a_warning_that_quotes_it_and_keeps_its_end_token(self, encoder):
        prompt = "very " * 100 + "long name"
        with pytest.warns(PromptTruncatedWarning, match=prompt):
            tokens = encoder.tokenize([prompt, "cat"])
        assert tokens.shape == (2, 77)
        assert tokens[0, 0] == 49406 and tokens[0, -1] == 49407


class TestEmbeddings:
    def test_a_batch_gives_what_its_prompts_give_alone(self, encoder):
        prompts = ["cat", "a much longer description of a red car", "dog"]
        together = encoder(encoder.tokenize(prompts))
        alone = torch.cat([encoder(encoder.tokenize([prompt])) for prompt in prompts])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)

    def test_gradients_reach_every_parameter_but_the_temperature(self, encoder):
        encoder(encoder.tokenize(["a red car", "dog"])).mean().backward()
        unused = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
        assert unused == ["logit_scale"]

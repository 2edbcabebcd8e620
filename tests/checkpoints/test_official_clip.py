"""Published CLIP names and formats into our towers: everything fits exactly, or one line says what doesn't."""

import json

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segvoc.checkpoints.official_clip import eva_clip_states, openai_clip_states, unwrap_eva_checkpoint
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, eva_text, openai_text
from segvoc.encoders.eva_clip import EvaClipConfig, EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import vit_b16, vit_l14
from segvoc.errors import CheckpointError
from tests.encoders.image_tower_contract import TINY_VIT, picture
from tests.golden_rules import CLIP_PREFIX, golden_clip_weights

TINY_TEXT = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=True, fine_tuned="qv")


def eva_towers():
    return EvaClipImageEncoder(EvaClipConfig(vit=TINY_VIT)), ClipTextEncoder(TINY_TEXT)


@pytest.fixture(scope="module")
def open_clip_model():
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=9, width=128, head_width=64, patch_size=16, image_size=224)
    text = open_clip.CLIPTextCfg(width=64, heads=2, layers=2)
    return open_clip.CLIP(64, vision, text, quick_gelu=True).eval()


@pytest.fixture(scope="module")
def published(golden) -> dict[str, Tensor]:
    return golden_clip_weights(golden, "tiny_pca_eva")


class TestOpenAI:
    def test_a_packed_open_clip_model_gives_the_same_embeddings(self, open_clip_model):
        image, text = OpenAIClipImageEncoder(TINY_VIT).eval(), ClipTextEncoder(TINY_TEXT).eval()
        image_state, text_state = openai_clip_states(open_clip_model.state_dict(), image, text)
        image.load_state_dict(image_state)
        text.load_state_dict(text_state)
        tokens, pixels = text.tokenize(["cat", "a red car"]), picture(2, 224, 224) / 255
        with torch.no_grad():
            torch.testing.assert_close(image.tower(pixels), open_clip_model.encode_image(pixels), rtol=1e-4, atol=1e-5)
            padded = F.pad(tokens, (0, 77 - tokens.shape[1]))
            theirs = open_clip_model.encode_text(padded, normalize=True)
            torch.testing.assert_close(text(tokens), theirs, rtol=1e-4, atol=1e-5)
        assert torch.equal(text.logit_scale, open_clip_model.logit_scale)

    def test_sizes_stored_among_the_weights_are_ignored(self, open_clip_model):
        published = {
            **open_clip_model.state_dict(),
            "input_resolution": torch.tensor(224),
            "vocab_size": torch.tensor(9),
        }
        openai_clip_states(published, OpenAIClipImageEncoder(TINY_VIT), ClipTextEncoder(TINY_TEXT))

    def test_strange_missing_and_misshapen_names_are_told(self, open_clip_model):
        towers = OpenAIClipImageEncoder(TINY_VIT), ClipTextEncoder(TINY_TEXT)
        weights = open_clip_model.state_dict()
        with pytest.raises(CheckpointError, match=r"strange visual\.extra"):
            openai_clip_states({**weights, "visual.extra": torch.zeros(1)}, *towers)
        with pytest.raises(CheckpointError, match=r"missing image\.tower\.proj"):
            openai_clip_states({name: value for name, value in weights.items() if name != "visual.proj"}, *towers)
        with pytest.raises(CheckpointError, match=r"visual\.proj \[128, 32\] instead of \[128, 64\]") as caught:
            openai_clip_states({**weights, "visual.proj": torch.zeros(128, 32)}, *towers)
        assert "\n" not in str(caught.value)


class TestEva:
    @pytest.mark.golden
    @pytest.mark.parametrize("key", ["model", "module", "state_dict"])
    def test_wrapped_old_format_files_give_the_same_weights(self, published, key):
        old = {f"module.{name.removeprefix('text.')}": value for name, value in published.items()}
        unwrapped = unwrap_eva_checkpoint({"epoch": 3, key: old, "optimizer": {}})
        assert unwrapped.keys() == published.keys()
        for ours, theirs in zip(
            eva_clip_states(unwrapped, *eva_towers()), eva_clip_states(published, *eva_towers()), strict=True
        ):
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[name], theirs[name]) for name in ours)

    def test_the_first_of_several_keys_wins(self):
        weights = {"visual.head.bias": torch.ones(2)}
        assert unwrap_eva_checkpoint({"state_dict": {}, "model": weights}).keys() == weights.keys()

    @pytest.mark.golden
    def test_positions_of_another_grid_are_resized(self, published):
        native = published["visual.pos_embed"]
        corner = torch.linspace(0, 1, 28).expand(28, 28)
        smooth = torch.cat([torch.zeros(1, 1, 128), corner.reshape(1, -1, 1).expand(1, 784, 128)], dim=1)
        state, _ = eva_clip_states({**published, "visual.pos_embed": smooth}, *eva_towers())
        resized = state["tower.pos_embed"]
        assert resized.shape == native.shape
        grid = resized[0, 1:, 0].reshape(14, 14)
        torch.testing.assert_close(grid[0], grid[13])
        assert (grid[0].diff() > 0).all()

    @pytest.mark.golden
    def test_a_missing_value_bias_is_told(self, published):
        cut = {name: value for name, value in published.items() if name != "visual.blocks.3.attn.v_bias"}
        with pytest.raises(CheckpointError, match=r"missing image\.tower\.blocks\.3\.attn\.v_proj\.bias"):
            eva_clip_states(cut, *eva_towers())


@pytest.mark.golden
@pytest.mark.parametrize(
    "case",
    ["cat_vitb_384", "cat_vitl_336", "pca_vitb_384", "pca_vitl_336", "pca_eva_vitb_384", "pca_eva_vitl_336"],
)
def test_the_key_lists_of_all_published_models_fit(golden, case):
    record = json.loads((golden / "cat_pca" / f"keys_{case}.json").read_text())
    shapes = {n.removeprefix(CLIP_PREFIX): s for n, s in record["state_dict"].items() if n.startswith(CLIP_PREFIX)}
    vit = vit_b16() if "vitb" in case else vit_l14()
    with torch.device("meta"):
        official = {name: torch.empty(shape) for name, shape in shapes.items()}
        if "eva" in case:
            towers = EvaClipImageEncoder(EvaClipConfig(vit=vit)), ClipTextEncoder(eva_text(vit.channels))
            states = eva_clip_states(official, *towers)
        else:
            towers = OpenAIClipImageEncoder(vit), ClipTextEncoder(openai_text(vit.channels))
            states = openai_clip_states(official, *towers)
    for tower, state in zip(towers, states, strict=True):
        assert state.keys() == tower.state_dict().keys()

"""Published CLIP names and formats into our towers: everything fits exactly, or one line says what doesn't."""

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F

from segvoc.encoders.base import CLIP_STATISTICS, normalized_pixels
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, eva_text, openai_text
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.official_clip import eva_clip_states, openai_clip_states, towers_state
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import vit_b16, vit_l14
from segvoc.errors import CheckpointError
from tests.encoders.image_tower_contract import TINY_VIT, make_image

pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

TINY_TEXT = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=True, fine_tuned="qv")


@pytest.fixture(scope="module")
def open_clip_model():
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=9, width=128, head_width=64, patch_size=16, image_size=224)
    text = open_clip.CLIPTextCfg(width=64, heads=2, layers=2)
    return open_clip.CLIP(64, vision, text, quick_gelu=True).eval()


def test_a_packed_open_clip_model_gives_the_same_embeddings(open_clip_model):
    image, text = OpenAIClipImageEncoder(TINY_VIT).eval(), ClipTextEncoder(TINY_TEXT).eval()
    for tower, state in zip((image, text), openai_clip_states(open_clip_model.state_dict(), image, text), strict=True):
        tower.load_state_dict(state)
    tokens, pixels = text.tokenize(["cat", "a red car"]), make_image(2, 224, 224) / 255
    with torch.no_grad():
        torch.testing.assert_close(image.tower(pixels), open_clip_model.encode_image(pixels), rtol=1e-4, atol=1e-5)
        padded = F.pad(tokens, (0, 77 - tokens.shape[1]))
        theirs = open_clip_model.encode_text(padded, normalize=True)
        torch.testing.assert_close(text(tokens), theirs, rtol=1e-4, atol=1e-5)
    assert torch.equal(text.logit_scale, open_clip_model.logit_scale)


def test_eva_as_open_clip_publishes_it_computes_what_timm_computes(open_clip_model):
    sizes = {"embed_dim": 128, "depth": 9, "num_heads": 2, "num_classes": 64}
    trunk = timm.create_model("eva02_base_patch16_clip_224", **sizes).eval()
    weights = {f"visual.trunk.{name}": value for name, value in trunk.state_dict().items()}
    text = {name: value for name, value in open_clip_model.state_dict().items() if not name.startswith("visual.")}
    weights |= {name if name == "logit_scale" else f"text.{name}": value for name, value in text.items()}
    tower = EvaClipImageEncoder(TINY_VIT, dense="vanilla").eval()
    tower.load_state_dict(eva_clip_states(weights, tower, ClipTextEncoder(TINY_TEXT))[0])
    pixels = make_image(2, 224, 224)
    with torch.no_grad():
        theirs = trunk.head(trunk.forward_features(normalized_pixels(pixels, CLIP_STATISTICS))[:, 1:])
        ours = tower(pixels).maps[0]
    torch.testing.assert_close(ours.flatten(2).mT, F.normalize(theirs, dim=-1), rtol=1e-4, atol=1e-5)
    # positions of another grid are resized
    smooth = torch.linspace(0, 1, 28).expand(28, 28).reshape(1, -1, 1).expand(1, 784, 128)
    weights["visual.trunk.pos_embed"] = torch.cat([torch.zeros(1, 1, 128), smooth], dim=1)
    resized = eva_clip_states(weights, tower, ClipTextEncoder(TINY_TEXT))[0]["tower.pos_embed"]
    grid = resized[0, 1:, 0].reshape(14, 14)
    torch.testing.assert_close(grid[0], grid[13])
    assert (grid[0].diff() > 0).all()


@pytest.mark.parametrize("name", ["EVA02-B-16", "EVA02-L-14-336", "ViT-B-16-quickgelu", "ViT-L-14-336-quickgelu"])
def test_every_name_and_shape_of_open_clip_fits(name):
    vit = vit_b16() if "B-16" in name else vit_l14()
    tower, text = (EvaClipImageEncoder, eva_text) if "EVA" in name else (OpenAIClipImageEncoder, openai_text)
    with torch.device("meta"):
        official = open_clip.create_model(name, device="meta").state_dict()
        towers = tower(vit), ClipTextEncoder(text(vit.channels))
        states = towers_state(official, *towers)
    for tower, state in zip(towers, states, strict=True):
        assert state.keys() == tower.state_dict().keys()


@pytest.mark.parametrize("shape", [(), (1,), (2, 64)])
def test_a_packed_matrix_that_has_no_three_parts_is_told(open_clip_model, shape):
    name = "transformer.resblocks.0.attn.in_proj_weight"
    towers = OpenAIClipImageEncoder(TINY_VIT), ClipTextEncoder(TINY_TEXT)
    with pytest.raises(CheckpointError, match=rf"unexpected {name}"):
        towers_state({**open_clip_model.state_dict(), name: torch.zeros(shape)}, *towers)

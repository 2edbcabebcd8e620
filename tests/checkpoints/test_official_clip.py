"""Published CLIP names and formats into our towers: everything fits exactly, or one line says what doesn't."""

import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from torch import Tensor

from segvoc.checkpoints.official_clip import eva_clip_states, openai_clip_states
from segvoc.checkpoints.official_towers import towers_state
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, eva_text, openai_text
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import vit_b16, vit_l14
from segvoc.errors import CheckpointError
from tests.encoders.image_tower_contract import TINY_VIT, make_image
from tests.golden_rules import golden_clip_weights

pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

TINY_TEXT = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=True, fine_tuned="qv")


def eva_towers():
    return EvaClipImageEncoder(TINY_VIT), ClipTextEncoder(TINY_TEXT)


@pytest.fixture(scope="module")
def open_clip_model():
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=9, width=128, head_width=64, patch_size=16, image_size=224)
    text = open_clip.CLIPTextCfg(width=64, heads=2, layers=2)
    return open_clip.CLIP(64, vision, text, quick_gelu=True).eval()


@pytest.fixture(scope="module")
def published(golden) -> dict[str, Tensor]:
    return golden_clip_weights(golden, "tiny_pca_eva")


@pytest.fixture(scope="module")
def trunk() -> Eva:
    torch.manual_seed(0)
    sizes = {"embed_dim": 128, "depth": 9, "num_heads": 2, "num_classes": 64}
    return timm.create_model("eva02_base_patch16_clip_224", **sizes).eval()


class TestOpenAI:
    def test_a_packed_open_clip_model_gives_the_same_embeddings(self, open_clip_model):
        image, text = OpenAIClipImageEncoder(TINY_VIT).eval(), ClipTextEncoder(TINY_TEXT).eval()
        image_state, text_state = openai_clip_states(open_clip_model.state_dict(), image, text)
        image.load_state_dict(image_state)
        text.load_state_dict(text_state)
        tokens, pixels = text.tokenize(["cat", "a red car"]), make_image(2, 224, 224) / 255
        with torch.no_grad():
            torch.testing.assert_close(image.tower(pixels), open_clip_model.encode_image(pixels), rtol=1e-4, atol=1e-5)
            padded = F.pad(tokens, (0, 77 - tokens.shape[1]))
            theirs = open_clip_model.encode_text(padded, normalize=True)
            torch.testing.assert_close(text(tokens), theirs, rtol=1e-4, atol=1e-5)
        assert torch.equal(text.logit_scale, open_clip_model.logit_scale)


class TestEva:
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


class TestTimm:
    """EVA02-CLIP as open_clip publishes it: the image tower in timm's names."""

    @pytest.fixture
    def weights(self, trunk, open_clip_model) -> dict[str, Tensor]:
        weights = {f"visual.trunk.{name}": value for name, value in trunk.state_dict().items()}
        for name, value in open_clip_model.state_dict().items():
            if not name.startswith("visual."):
                weights[name if name == "logit_scale" else f"text.{name}"] = value
        return weights

    def test_the_tower_computes_what_timm_computes(self, trunk, weights):
        tower = EvaClipImageEncoder(TINY_VIT, dense="vanilla").eval()
        state, _ = eva_clip_states(weights, tower, ClipTextEncoder(TINY_TEXT))
        tower.load_state_dict(state)
        pixels = make_image(2, 224, 224)
        mean, std = torch.tensor((open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)).view(2, 3, 1, 1)
        with torch.no_grad():
            theirs = trunk.head(trunk.forward_features((pixels / 255 - mean) / std)[:, 1:])
            ours = tower(pixels).maps[0]
        torch.testing.assert_close(ours.flatten(2).mT, F.normalize(theirs, dim=-1), rtol=1e-4, atol=1e-5)


class TestEitherFamily:
    @pytest.mark.parametrize("name", ["EVA02-B-16", "EVA02-L-14-336", "ViT-B-16-quickgelu", "ViT-L-14-336-quickgelu"])
    def test_every_name_and_shape_of_open_clip_fits(self, name):
        vit = vit_b16() if "B-16" in name else vit_l14()
        with torch.device("meta"):
            official = open_clip.create_model(name, device="meta").state_dict()
            if "EVA" in name:
                towers = EvaClipImageEncoder(vit), ClipTextEncoder(eva_text(vit.channels))
            else:
                towers = OpenAIClipImageEncoder(vit), ClipTextEncoder(openai_text(vit.channels))
            states = towers_state(official, *towers)
        for tower, state in zip(towers, states, strict=True):
            assert state.keys() == tower.state_dict().keys()

    @pytest.mark.parametrize("shape", [(), (1,), (2, 64)])
    def test_a_packed_matrix_that_has_no_three_parts_is_told(self, open_clip_model, shape):
        name = "transformer.resblocks.0.attn.in_proj_weight"
        towers = OpenAIClipImageEncoder(TINY_VIT), ClipTextEncoder(TINY_TEXT)
        with pytest.raises(CheckpointError, match=rf"unexpected {name}"):
            towers_state({**open_clip_model.state_dict(), name: torch.zeros(shape)}, *towers)

"""OpenAI CLIP's image tower against the official code's values, and the contract of image towers."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segvoc.checkpoints.official_clip import openai_clip_states
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig, vit_b16, vit_l14
from tests.encoders.image_tower_contract import TINY_VIT, ImageTowerContract
from tests.golden_rules import golden_clip_weights
from tests.golden_sets import TOLERANCE, full_case


class TestOpenAIClipImageEncoder(ImageTowerContract):
    def build(self, vit: VitConfig) -> nn.Module:
        return OpenAIClipImageEncoder(vit)

    def unused(self, tower: nn.Module) -> set[str]:
        last = "tower.transformer.resblocks.8.attn."
        return {f"{last}{letter}_proj.{kind}" for letter in "qk" for kind in ("weight", "bias")}


@pytest.fixture(scope="module")
def case(golden):
    return full_case(golden, "tiny_cat_openai")


@pytest.fixture(scope="module")
def tower(golden):
    text = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=True, fine_tuned="qv")
    tower = OpenAIClipImageEncoder(TINY_VIT)
    with torch.device("meta"):
        text_encoder = ClipTextEncoder(text)
    tower.load_state_dict(openai_clip_states(golden_clip_weights(golden, "tiny_cat_openai"), tower, text_encoder)[0])
    return tower.eval()


def normalized_pixels(tower, case):
    """What the encoder hands to its first layer."""
    seen = []
    handle = tower.tower.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        tower(case.tensors["image384_u8"][None].float())
    handle.remove()
    return seen[0]


@pytest.mark.golden
class TestGolden:
    def test_pixels_are_normalized_as_officially(self, tower, case):
        assert case.error("clip_input384", normalized_pixels(tower, case)[..., ::16, ::16]) <= TOLERANCE

    def test_the_whole_tower_still_embeds_a_image(self, tower, case):
        """The dense reading leaves the last block's queries and keys out; this one needs them."""
        pixels = F.interpolate(normalized_pixels(tower, case), size=224, mode="bilinear")
        with torch.no_grad():
            embedding = tower.tower(pixels)
        assert case.error("image_embed_224", embedding) <= TOLERANCE


@pytest.mark.parametrize(("name", "config"), [("ViT-B-16-quickgelu", vit_b16()), ("ViT-L-14-336-quickgelu", vit_l14())])
def test_sizes_are_those_of_open_clip(name, config):
    published = open_clip.get_model_config(name)
    assert published is not None and published["quick_gelu"]
    vision = published["vision_cfg"]
    ours = (config.channels, config.width, config.layers, config.patch_size, config.pretrained_size, config.heads)
    theirs = (published["embed_dim"], *(vision[key] for key in ("width", "layers", "patch_size", "image_size")))
    assert ours == (*theirs, vision["width"] // 64)

"""EVA02-CLIP's image tower against the official code's values, and the contract of image towers."""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from segvoc.checkpoints.official_clip import eva_clip_states
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.vit import VitConfig
from tests.encoders.image_tower_contract import TINY_VIT, ImageTowerContract, make_image
from tests.golden_rules import golden_clip_weights

_FFN = ("tower.blocks.8.norm2", "tower.blocks.8.mlp")  # the csa reading stops after the attention


class TestEvaClipImageEncoder(ImageTowerContract):
    def build(self, vit: VitConfig) -> nn.Module:
        return EvaClipImageEncoder(vit)

    def unused(self, tower: nn.Module) -> set[str]:
        return {name for name, _ in tower.named_parameters() if name.startswith(_FFN)}


@pytest.fixture(scope="module")
def weights(golden):
    text = ClipTextConfig(channels=64, width=64, layers=2, heads=2, quick_gelu=False, fine_tuned="qkv")
    with torch.device("meta"):
        towers = EvaClipImageEncoder(TINY_VIT), ClipTextEncoder(text)
    return eva_clip_states(golden_clip_weights(golden, "tiny_pca_eva"), *towers)[0]


@pytest.mark.golden
class TestGolden:
    def test_rotary_angles_are_the_stored_table_on_the_native_grid(self, golden, weights):
        stored = load_file(golden / "cat_pca" / "tiny_pca_eva_weights.safetensors")
        cosine, sine = (
            stored[f"sem_seg_head.predictor.clip_model.visual.rope.freqs_{part}"] for part in ("cos", "sin")
        )
        seen = {}
        tower = EvaClipImageEncoder(TINY_VIT)
        tower.tower.blocks[0].register_forward_pre_hook(lambda _, args, kwargs: seen.update(kwargs), with_kwargs=True)
        side = TINY_VIT.patch_size * math.isqrt(len(cosine))
        with torch.no_grad():
            tower(make_image(1, side, side))
        torch.testing.assert_close(seen["rope"], torch.cat([sine, cosine], dim=-1), rtol=0, atol=1e-5)

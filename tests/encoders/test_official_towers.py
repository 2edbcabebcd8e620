"""The files of other libraries: each form of a CLIP in each container gives the same towers."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from segvoc.checkpoints.files import read_weights
from segvoc.checkpoints.strict import renamed
from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.official_clip import is_plain_clip, towers_state
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.vit import VitConfig
from segvoc.errors import ActivationWarning
from tests.encoders.test_convnext_clip import TINY
from tests.transformers_models import small_towers, weights_of

pytestmark = pytest.mark.filterwarnings("ignore::segvoc.errors.ActivationWarning")  # weights without OpenAI's sizes

VIT = VitConfig(channels=40, width=64, layers=2, heads=1, patch_size=16, pretrained_size=64, input_size=64, taps=(0,))
TEXT = ClipTextConfig(channels=40, width=64, layers=2, heads=1, quick_gelu=False, fine_tuned="qv")
NOT_TIMMS = (
    (r"\.attn\.([qv])_proj\.bias", r".attn.\1_bias"),
    (r"\.attn\.norm\.", ".attn.inner_attn_ln."),
    (r"\.mlp\.fc1_g\.", ".mlp.w1."),
    (r"\.mlp\.fc1_x\.", ".mlp.w2."),
    (r"\.mlp\.norm\.", ".mlp.ffn_ln."),
    (r"\.mlp\.fc2\.", ".mlp.w3."),
)
"""From timm's names in EVA's blocks to those of its authors."""


@cache
def open_clips() -> dict[str, Tensor]:
    """A CLIP of open_clip, whose names are OpenAI's."""
    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(layers=2, width=64, head_width=64, patch_size=16, image_size=64)
    return open_clip.CLIP(40, vision, open_clip.CLIPTextCfg(width=64, heads=1, layers=2)).state_dict()


def text(prefix: str) -> dict[str, Tensor]:
    weights = {name: value for name, value in open_clips().items() if not name.startswith("visual.")}
    return {name if name == "logit_scale" else f"{prefix}{name}": value for name, value in weights.items()}


@cache
def trunk() -> dict[str, Tensor]:
    torch.manual_seed(0)
    name = "eva02_base_patch16_clip_224"
    return timm.create_model(name, embed_dim=64, depth=2, num_heads=1, num_classes=40, img_size=64).state_dict()


def timms_eva() -> dict[str, Tensor]:
    return {f"visual.trunk.{name}": value for name, value in trunk().items()} | text("text.")


def authors_eva(prefix: str) -> dict[str, Tensor]:
    image = {f"visual.{renamed(name, NOT_TIMMS)}": value for name, value in trunk().items()}
    return text(prefix) | image | {"visual.rope.freqs_cos": torch.zeros(16, 64)}


def convnext() -> dict[str, Tensor]:
    torch.manual_seed(0)
    image = ConvNextClipImageEncoder(replace(TINY, hierarchical=False)).state_dict()
    names = {name: name.replace("tower.", "trunk.").replace("project.", "head.proj.") for name in image}
    return {f"visual.{names[name]}": value for name, value in image.items()} | text("")


def eva_towers() -> tuple[nn.Module, nn.Module]:
    return EvaClipImageEncoder(VIT), ClipTextEncoder(TEXT)


FORMS: dict[str, tuple[Callable[[], dict[str, Tensor]], Callable[[], tuple[nn.Module, nn.Module]]]] = {
    "open_clip's ViT": (open_clips, lambda: (OpenAIClipImageEncoder(VIT), ClipTextEncoder(TEXT))),
    "transformers' ViT": (lambda: weights_of("clip"), small_towers),
    "open_clip's EVA02": (timms_eva, eva_towers),
    "EVA-CLIP's": (lambda: authors_eva("text."), eva_towers),
    "EVA-CLIP's first": (lambda: authors_eva(""), eva_towers),
    "open_clip's ConvNeXt": (convnext, lambda: (ConvNextClipImageEncoder(TINY), ClipTextEncoder(TEXT))),
}


@pytest.mark.filterwarnings("error::segvoc.errors.ActivationWarning")
def test_an_activation_that_isnt_known_is_said() -> None:
    weights = open_clips()
    with pytest.warns(ActivationWarning, match="activation=gelu"):
        towers_state(weights, *FORMS["open_clip's ViT"][1]())
    towers_state({**weights, "input_resolution": torch.tensor(64)}, *FORMS["open_clip's ViT"][1]())
    towers_state(weights, OpenAIClipImageEncoder(VIT, activation="gelu"), ClipTextEncoder(TEXT))


@pytest.mark.parametrize("form", FORMS)
def test_every_container_gives_the_same_towers(form: str, tmp_path: Path) -> None:
    weights, towers = FORMS[form][0](), FORMS[form][1]()
    expected = towers_state(weights, *towers)
    for tower, state in zip(towers, expected, strict=True):
        tower.load_state_dict(state)
    parallel = {f"module.{name}": value for name, value in weights.items()}
    training = {"epoch": 7, "name": "run", "optimizer": {"state": {}, "param_groups": []}, "scaler": {}}
    torch.save(weights, tmp_path / "state_dict.pt")
    torch.save({**training, "state_dict": parallel}, tmp_path / "training.pt")
    torch.save({"module": weights}, tmp_path / "deepspeed.pt")
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "weights.safetensors")
    for path in sorted(tmp_path.iterdir()):
        found = read_weights(path).tensors
        assert is_plain_clip(found)
        for state, same in zip(towers_state(found, *towers), expected, strict=True):
            assert state.keys() == same.keys() and all(torch.equal(state[name], same[name]) for name in state)

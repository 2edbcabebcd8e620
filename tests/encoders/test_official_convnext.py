"""ConvNeXt-CLIP's published names into our towers: everything fits exactly, or one line says what doesn't."""

from dataclasses import replace

import open_clip
import pytest
import torch

from segvoc.encoders.clip_text import ClipTextConfig, ClipTextEncoder, convnext_text
from segvoc.encoders.convnext_clip import (
    ERR_CLIP,
    ConvNextClipConfig,
    ConvNextClipImageEncoder,
    convnext_base_w,
    convnext_clip_states,
    convnext_large_d,
    with_stride_one,
)
from segvoc.errors import CheckpointError
from tests.encoders.test_convnext_clip import TINY
from tests.encoders.test_official_towers import TEXT, convnext
from tests.err_goldens import err_clip

MODELS = {
    "convnext_base_w_320": (convnext_base_w(), convnext_text(640, 12)),
    "convnext_large_d_320": (convnext_large_d(), convnext_text(768, 16)),
}
LAST = "tower.stages.3.downsample."
ADDED = {f"stride_one.0.{name}" for name in ("norm.weight", "norm.bias", "conv.weight", "conv.bias")}


def towers(image: ConvNextClipConfig, text: ClipTextConfig) -> tuple[ConvNextClipImageEncoder, ClipTextEncoder]:
    with torch.device("meta"):
        return ConvNextClipImageEncoder(image), ClipTextEncoder(text)


@pytest.mark.golden
@pytest.mark.parametrize("model", MODELS)
def test_exactly_the_published_parameters_are_trained(golden, model):
    lists, ours = err_clip(golden, model), towers(*MODELS[model])
    # the map keeps dtypes, which tell what becomes of the trained ones
    official = {
        name: torch.empty(shape, device="meta", dtype=torch.float64 if name in lists.trained else torch.float32)
        for name, shape in lists.shapes.items()
    }
    for tower, state in zip(ours, convnext_clip_states(official, *ours), strict=True):
        trained = {name for name, value in state.items() if value.dtype == torch.float64}
        assert set(tower.fine_tuned_parameters()) == trained


@pytest.mark.parametrize("model", MODELS)
def test_every_name_and_shape_of_open_clip_fits(model):
    with torch.device("meta"):
        official = open_clip.create_model(model, device="meta").state_dict()
    ours = towers(*MODELS[model])
    for tower, state in zip(ours, convnext_clip_states(official, *ours), strict=True):
        assert state.keys() == tower.state_dict().keys()


def test_stride_one_begins_as_the_last_stage_in_a_plain_clip_and_is_left_out_without_the_hierarchy():
    plain = convnext()
    state, _ = convnext_clip_states(plain, *towers(TINY, TEXT))
    for name in ADDED:
        original = state[name.replace("stride_one.0.norm", f"{LAST}0").replace("stride_one.0.conv", f"{LAST}1")]
        assert torch.equal(state[name], original) and state[name].data_ptr() != original.data_ptr()
    for official in (plain, with_stride_one(plain)):
        single, _ = convnext_clip_states(official, *towers(replace(TINY, hierarchical=False), TEXT))
        assert single.keys() == state.keys() - ADDED
    with pytest.raises(CheckpointError, match=r"missing image\.stride_one\.0\.norm\.weight"):  # nor a released one
        convnext_clip_states({f"{ERR_CLIP}{n}": x for n, x in plain.items()}, *towers(TINY, TEXT))

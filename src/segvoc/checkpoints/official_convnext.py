"""The weights of ConvNeXt-CLIP, as open_clip publishes and ERR-Seg saves them, in our towers' names."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from segvoc.checkpoints.official_clip import TowerStates, openai_clip_states
from segvoc.checkpoints.strict import fit_exactly, inside

ERR_CLIP = "sem_seg_head.clip_model."
"""Where the released ERR-Seg keeps its towers."""

_STRIDE_ONE = "visual.modify_downsample."
_RENAMED = (
    (f"{_STRIDE_ONE}0.", "stride_one.0.norm."),
    (f"{_STRIDE_ONE}2.", "stride_one.0.conv."),
    ("visual.head.proj.", "project."),
    ("visual.head.mlp.", "project."),
    ("visual.trunk.", "tower."),
)
_COPIED = (
    ("visual.trunk.stages.3.downsample.0.", f"{_STRIDE_ONE}0."),
    ("visual.trunk.stages.3.downsample.1.", f"{_STRIDE_ONE}2."),
)


def convnext_clip_states(
    official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module
) -> TowerStates:
    """State dicts for a `ConvNextClipImageEncoder` and its `ClipTextEncoder`.

    Args: official: a plain CLIP as open_clip publishes it, or the whole state dict of the released ERR-Seg, whose
    weights outside the towers are left out here. image_encoder, text_encoder: the towers to fill (only names and shapes
    are read: those on `meta` will do).

    Raises: CheckpointError: a name or a shape that doesn't fit, or a parameter without a value.
    """
    clip = inside(ERR_CLIP, official) or with_stride_one(official)
    text = {name: x for name, x in clip.items() if not name.startswith("visual.")}
    # the text tower has the names of OpenAI's; there is no image tower for that map to fill
    return convnext_image_state(clip, image_encoder), openai_clip_states(text, nn.Module(), text_encoder)[1]


def convnext_image_state(clip: Mapping[str, Tensor], image_encoder: nn.Module) -> dict[str, Tensor]:
    """State dict for a `ConvNextClipImageEncoder` from the weights of a CLIP that start with "visual.".

    A tower that reads stride 32 alone has no use for `visual.modify_downsample`, which may be there or not.

    Raises: CheckpointError: a name or a shape that doesn't fit, or a parameter without a value.
    """
    expected = {name: value.shape for name, value in image_encoder.state_dict().items()}
    needless = () if any(name.startswith("stride_one.") for name in expected) else (_STRIDE_ONE,)
    visual = {name: x for name, x in clip.items() if name.startswith("visual.") and not name.startswith(needless)}
    return fit_exactly(((name, _our_name(name), x) for name, x in visual.items()), expected, "CLIP")


def with_stride_one(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A plain CLIP with ERR-Seg's downsampling of stride 1, that begins as a copy of the last stage's own (Eq. 2)."""
    if any(name.startswith(_STRIDE_ONE) for name in clip):
        return dict(clip)
    return {**clip, **dict(_copies(clip))}


def _copies(clip: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for theirs, copy in _COPIED:
        for name, value in clip.items():
            if name.startswith(theirs):
                yield name.replace(theirs, copy), value.clone()


def _our_name(official: str) -> str:
    """Our name of a weight; one that is in no map keeps its own, and is then told as strange."""
    theirs, ours = next((pair for pair in _RENAMED if official.startswith(pair[0])), ("", ""))
    return f"{ours}{official.removeprefix(theirs)}"

"""Key maps from ConvNeXt-CLIP weights, as published by open_clip and saved by ERR-Seg, to our towers."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from segvoc.checkpoints.official_clip import TowerStates, openai_clip_states
from segvoc.checkpoints.strict import fit_exactly, inside

ERR_CLIP = "sem_seg_head.clip_model."
"""Prefix of the towers' weights in the released ERR-Seg."""

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

    It reads a plain CLIP as published by open_clip, or the whole state dict of the released ERR-Seg, of which only the
    towers are read.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    clip = inside(ERR_CLIP, official) or with_stride_one(official)
    text = {name: x for name, x in clip.items() if not name.startswith("visual.")}
    # the text tower has OpenAI's names; an empty module stands in for the image tower, which that map can't fill
    return convnext_image_state(clip, image_encoder), openai_clip_states(text, nn.Module(), text_encoder)[1]


def convnext_image_state(clip: Mapping[str, Tensor], image_encoder: nn.Module) -> dict[str, Tensor]:
    """State dict for a `ConvNextClipImageEncoder` from the weights of a CLIP whose names start with "visual.".

    `visual.modify_downsample` is ignored if the tower only uses stride 32.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    expected = {name: value.shape for name, value in image_encoder.state_dict().items()}
    ignored = () if any(name.startswith("stride_one.") for name in expected) else (_STRIDE_ONE,)
    visual = {name: x for name, x in clip.items() if name.startswith("visual.") and not name.startswith(ignored)}
    return fit_exactly(((name, _our_name(name), x) for name, x in visual.items()), expected, "CLIP")


def with_stride_one(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add ERR-Seg's downsampling with stride 1 to a plain CLIP, initialized from that of the last stage (Eq. 2)."""
    if any(name.startswith(_STRIDE_ONE) for name in clip):
        return dict(clip)
    return {**clip, **dict(_copies(clip))}


def _copies(clip: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for theirs, copy in _COPIED:
        for name, value in clip.items():
            if name.startswith(theirs):
                yield name.replace(theirs, copy), value.clone()


def _our_name(official: str) -> str:
    """Our name of a weight; unknown names stay the same, and are reported as unexpected later."""
    theirs, ours = next((pair for pair in _RENAMED if official.startswith(pair[0])), ("", ""))
    return f"{ours}{official.removeprefix(theirs)}"

"""Key map from published ImageNet networks to the backbones that guide CAT-Seg's first version.

It reads ResNet-101 with the names of torchvision and timm, which agree, and Swin-B with those of timm and of its
authors. Later stages and the classifier are left out.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from segvoc.checkpoints.official_towers import towers_state
from segvoc.checkpoints.strict import fit_exactly, with_prefixes
from segvoc.encoders.guided_clip import GuidedClip
from segvoc.errors import CheckpointError

_LEFT_OUT = re.compile(r"(layer4|layers\.3|fc|head|norm)\.|.*(attn_mask|relative_position_index)$")
"""What comes after stride 16, and tables that timm computes."""

_AUTHORS_DOWNSAMPLING = "layers.0.downsample.reduction.weight"
"""Swin's authors downsample at the end of a stage, timm at the beginning of the next one."""


def backbone_state(official: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """State dict for a backbone.

    It reads the weights of the whole classifier.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    expected = {name: value.shape for name, value in backbone.state_dict().items()}
    later = _AUTHORS_DOWNSAMPLING in official

    def ours(name: str) -> str:
        found = re.match(r"layers\.(\d)\.downsample\.", name) if later else None
        return name if found is None else f"layers.{int(found[1]) + 1}.{name[found.start(1) + 2 :]}"

    named = ((theirs, ours(theirs), value) for theirs, value in official.items())
    kept = ((theirs, f"model.{name}", value) for theirs, name, value in named if not _LEFT_OUT.match(name))
    return fit_exactly(kept, expected, "guidance backbone's")


def guided_clip_state(
    clip: Mapping[str, Tensor], backbone: Mapping[str, Tensor], network: nn.Module
) -> dict[str, Tensor]:
    """State dict of the towers of a network on a CLIP and a backbone for guidance.

    See `towers_state` and `backbone_state`.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    tower = network.get_submodule("image_encoder")
    if not isinstance(tower, GuidedClip):
        raise CheckpointError("this network has no backbone for guidance; give the CLIP alone, or guidance_backbone")
    image, text = towers_state(clip, tower.clip, network.get_submodule("text_encoder"))
    guide = backbone_state(backbone, tower.backbone)
    return with_prefixes({"image_encoder.clip.": image, "image_encoder.backbone.": guide, "text_encoder.": text})

"""Published weights of a CLIP, of whatever family, for the towers of a network."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segvoc.checkpoints.official_clip import TowerStates, eva_clip_states, openai_clip_states
from segvoc.checkpoints.official_convnext import convnext_clip_states
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.errors import CheckpointError
from segvoc.layers.cost_sum import NoAggregation
from segvoc.networks.base import SegmentationNetwork


@dataclass(frozen=True)
class _Family:
    """One kind of towers.

    name: as people call it. encoder: of pictures. starts: names of weights that begin so are of this family, if of none
    before it. mend: which presets have it. states: the key map.
    """

    name: str
    encoder: type[nn.Module]
    starts: tuple[str, ...]
    mend: str
    states: Callable[[Mapping[str, Tensor], nn.Module, nn.Module], TowerStates]


_FAMILIES = (
    _Family(
        "ConvNeXt-CLIP",
        ConvNextClipImageEncoder,
        ("visual.trunk.stem.", "visual.trunk.stages."),
        "use err-seg-b or err-seg-l",
        convnext_clip_states,
    ),
    _Family(
        "EVA02-CLIP",
        EvaClipImageEncoder,
        ("visual.trunk.", "visual.blocks."),
        "use pca-seg-b, pca-seg-l, cat-seg-eva-b or cat-seg-eva-l",
        eva_clip_states,
    ),
    _Family(
        "OpenAI CLIP",
        OpenAIClipImageEncoder,
        ("visual.transformer.",),
        "use pca-seg-clip-b, pca-seg-clip-l, cat-seg-b or cat-seg-l",
        openai_clip_states,
    ),
)


def towers_state(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for the towers of any family, the class of the image encoder tells which.

    Args: official: a CLIP checkpoint in any of the formats that the families' key maps read. image_encoder,
    text_encoder: the towers to fill (those on `meta` will do).

    Raises: CheckpointError: the weights are of another family (it says which presets have that one), a name or a shape
    doesn't fit, or a parameter is left without a value.
    """
    wanted = next((family for family in _FAMILIES if isinstance(image_encoder, family.encoder)), None)
    if wanted is None:
        raise CheckpointError(
            "these are towers alone, of which a network of parts needs two kinds; start a training "
            "with both: --encoder-weights ViT-B-16.pt,dinov2_vits14_pretrain.pth"
        )
    found = next((family for family in _FAMILIES if any(name.startswith(family.starts) for name in official)), wanted)
    if found is not wanted:
        raise CheckpointError(f"these are {found.name} weights, for towers of {wanted.name}; {found.mend}")
    return wanted.states(official, image_encoder, text_encoder)


def clip_state(clip: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """The part of the network's state dict that its towers are.

    Args: clip: what `towers_state` reads.

    Raises: CheckpointError: see `towers_state`.
    """
    image, text = towers_state(clip, network.image_encoder, network.text_encoder)
    parts = {"image_encoder": image, "text_encoder": text}
    return {f"{part}.{name}": value for part, state in parts.items() for name, value in state.items()}


def is_plain_clip(official: Mapping[str, Tensor]) -> bool:
    """Whether weights are those of a CLIP alone, by their names."""
    return any(name.startswith("visual.") for name in official)


def cosines(aggregation: nn.Module) -> dict[str, Tensor]:
    """State dict of what a network without aggregation adds to its towers: nothing, each logit is the cosine.

    Raises:
        CheckpointError: the network has an aggregation.
    """
    if not isinstance(aggregation, NoAggregation):
        raise CheckpointError(
            "these are towers alone, a plain CLIP without an aggregation; give a checkpoint of the whole network, or "
            "see what the towers can do alone with the option aggregation=none"
        )
    shapes = {name: value.shape for name, value in aggregation.state_dict().items()}
    return {name: torch.zeros(shape) if name.endswith("bias") else torch.ones(shape) for name, shape in shapes.items()}


def plain_clip_state(clip: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """State dict for a network without aggregation from a plain CLIP.

    Raises:
        CheckpointError: the network has an aggregation; see also `towers_state`.
    """
    rest = {f"aggregation.{name}": value for name, value in cosines(network.aggregation).items()}
    return clip_state(clip, network) | rest

"""Published CLIP weights of any family for the towers of a network."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from timm.models.eva import Eva
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from segvoc.checkpoints.official_clip import TowerStates, eva_clip_states, openai_clip_states
from segvoc.checkpoints.official_convnext import convnext_clip_states
from segvoc.checkpoints.official_dino_txt import dino_txt_states
from segvoc.checkpoints.official_timm_clip import timm_clip_states
from segvoc.checkpoints.origins import clip_family, refuse_other_origins
from segvoc.checkpoints.strict import with_prefixes
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.encoders.dino_txt import DinoTxtImageEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.encoders.timm_clip_sizes import TIMM_CLIPS
from segvoc.errors import ActivationWarning, CheckpointError
from segvoc.layers.cost_sum import COSINES, CosineLogits, NoAggregation
from segvoc.networks.base import SegmentationNetwork


@dataclass(frozen=True)
class _Family:
    """A family of CLIP models."""

    name: str
    """Its name in `CLIP_FAMILIES`."""
    encoder: type[nn.Module]
    """Class of the image encoder."""
    presets: str
    """Which presets to use it with, for error messages."""
    states: Callable[[Mapping[str, Tensor], nn.Module, nn.Module], TowerStates]
    """The key map."""
    tower: type[nn.Module] | None = None
    """Class of timm's model inside the image encoder, where several families share one."""
    also: tuple[str, ...] = ()
    """Whole networks, by their origin's name, whose towers the key map reads too."""

    def is_of(self, image_encoder: nn.Module) -> bool:
        """Whether an image encoder is of this family."""
        return isinstance(image_encoder, self.encoder) and (
            self.tower is None or isinstance(image_encoder.get_submodule("tower"), self.tower)
        )


def _timm_family(name: str, tower: type[nn.Module]) -> _Family:
    kinds = [kind for kind in TIMM_CLIPS if kind.startswith(name.lower())]
    return _Family(name, TimmClipImageEncoder, f"set encoder={' or '.join(kinds)}", timm_clip_states, tower=tower)


_FAMILIES = (
    _Family(
        "ConvNeXt-CLIP",
        ConvNextClipImageEncoder,
        "use err-seg-b or err-seg-l",
        convnext_clip_states,
        also=("ERR-Seg",),
    ),
    _Family(
        "EVA02-CLIP",
        EvaClipImageEncoder,
        "use pca-seg-b, pca-seg-l, eva-clip-b, eva-clip-l, cat-seg-eva-b or cat-seg-eva-l",
        eva_clip_states,
    ),
    _Family(
        "OpenAI CLIP",
        OpenAIClipImageEncoder,
        "use pca-seg-clip-b, pca-seg-clip-l, clip-b, clip-l, cat-seg-b or cat-seg-l",
        openai_clip_states,
    ),
    _Family("DINOv3", DinoTxtImageEncoder, "set encoder=dinov3-l", dino_txt_states),
    _timm_family("SigLIP", VisionTransformer),
    _timm_family("PE-Core", Eva),
    _timm_family("MobileCLIP", FastVit),
)


def _warn_of_activation(official: Mapping[str, Tensor], image_encoder: nn.Module) -> None:
    """Warn where open_clip's names leave open which activation the towers were trained with."""
    from open_clip.transformer import QuickGELU

    by_open_clip = "visual.transformer.resblocks.0.attn.in_proj_weight" in official
    by_openai = bool({"input_resolution", "context_length", "vocab_size"} & official.keys())
    if by_open_clip and not by_openai and any(isinstance(module, QuickGELU) for module in image_encoder.modules()):
        warnings.warn(
            "the weights don't say whether their activation is OpenAI's QuickGELU, which is taken, or GELU, as in most "
            "of open_clip's own (LAION, DataComp, DFN); for these, set activation=gelu",
            ActivationWarning,
            stacklevel=2,
        )


def towers_state(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for towers of any family; the class of the image encoder decides which.

    `official` is a CLIP in any format that the key maps of the family read.

    Raises:
        CheckpointError: The weights belong to another family (the message names its presets), a name or shape doesn't
            fit, or a parameter has no value.
    """
    wanted = next((family for family in _FAMILIES if family.is_of(image_encoder)), None)
    if wanted is None:
        raise CheckpointError(
            "these are the towers of a CLIP alone, and a network of parts needs two kinds; start a training "
            "with both: --encoder-weights ViT-B-16.pt,dinov2_vits14_pretrain.pth"
        )
    found = next((family for family in _FAMILIES if family.name == clip_family(official)), None)
    if found is None:
        refuse_other_origins(official, "CLIP", *wanted.also)
    elif found is not wanted:
        raise CheckpointError(f"these are {found.name} weights, for towers of {wanted.name}; {found.presets}")
    _warn_of_activation(official, image_encoder)
    return wanted.states(official, image_encoder, text_encoder)


def clip_state(clip: Mapping[str, Tensor], network: SegmentationNetwork) -> dict[str, Tensor]:
    """The towers' entries of a network's state dict.

    Raises:
        CheckpointError: See `towers_state`.
    """
    image, text = towers_state(clip, network.image_encoder, network.text_encoder)
    return with_prefixes({"image_encoder.": image, "text_encoder.": text})


def is_plain_clip(official: Mapping[str, Tensor]) -> bool:
    """Whether weights, by their names, are those of a plain CLIP."""
    return clip_family(official) is not None or any(name.startswith("visual.") for name in official)


def cosine_state(aggregation: nn.Module, logits: CosineLogits = COSINES) -> dict[str, Tensor]:
    """State dict for a `NoAggregation` whose logits are those of a CLIP alone.

    Raises:
        CheckpointError: The network has an aggregation.
    """
    if not isinstance(aggregation, NoAggregation):
        raise CheckpointError(
            "these are towers alone, a plain CLIP without an aggregation; give a checkpoint of the whole network, or "
            "see what the towers can do alone with the option aggregation=none"
        )
    shapes = {name: value.shape for name, value in aggregation.state_dict().items()}
    return {
        name: torch.full(shape, -logits.scale * logits.likely if name.endswith("bias") else logits.scale)
        for name, shape in shapes.items()
    }


def plain_clip_state(
    clip: Mapping[str, Tensor], network: SegmentationNetwork, logits: CosineLogits = COSINES
) -> dict[str, Tensor]:
    """State dict for a network without aggregation from a plain CLIP.

    Raises:
        CheckpointError: The network has an aggregation; see also `towers_state`.
    """
    towers = clip_state(clip, network)
    return towers | {f"aggregation.{name}": value for name, value in cosine_state(network.aggregation, logits).items()}

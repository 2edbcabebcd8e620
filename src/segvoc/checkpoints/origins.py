"""Published weights are recognized by their names, so that an error says whose they are and what reads them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from segvoc.checkpoints.transformers_names import CLIP_MARK
from segvoc.errors import CheckpointError

_BOTH = "--encoder-weights ViT-B-16.pt,dinov2_vits14_pretrain.pth"


@dataclass(frozen=True)
class _Origin:
    """A network that weights come from."""

    name: str
    """What errors call it."""
    mark: str
    """A regular expression for the beginning of names that only its weights have."""
    fix: str
    """What to do with them."""


_PREDICTOR = r"sem_seg_head\.predictor\."
_ORIGINS = (
    _Origin("CLIPSeg", r"(decoder\.)?film_mul\.", "load them as clipseg"),
    _Origin(
        "PartCATSeg",
        rf"backbone\.dinov2\.|{_PREDICTOR}transformer\.layers_specific_part\.",
        "load them as part-cat-seg-b",
    ),
    _Origin("ERR-Seg", r"sem_seg_head\.(clip_model|decoder)\.", "load them as err-seg-b or err-seg-l"),
    _Origin("CAT-Seg or PCA-Seg", _PREDICTOR, "load them as one of the cat-seg or pca-seg models"),
    _Origin(
        "DINOv2",
        r"blocks\.\d+\.ls1\.gamma|(dinov2\.)?encoder\.layer\.\d+\.layer_scale1\.lambda1",
        f"networks of parts start from them, named after a CLIP: {_BOTH}",
    ),
    _Origin(
        "an image encoder alone",
        r"blocks\.\d+\.attn\.|stages\.\d+\.blocks\.",
        "take a file with the text encoder too (in timm's repositories open_clip_model.safetensors)",
    ),
    _Origin("CLIP", rf"visual\.|{re.escape(CLIP_MARK)}", f"networks of parts start from them and DINOv2's: {_BOTH}"),
)
"""In order: the weights of a network contain those of the encoders below it."""


_TAKE = "take an OpenAI CLIP, EVA02-CLIP or ConvNeXt-CLIP (segvoc models)"
_CLIPS_WITHOUT_TOWERS = (
    _Origin("a Perception Encoder (PE)", r"visual\.(trunk\.norm_pre|attn_pool)\.", _TAKE),
    _Origin("a SigLIP", r"(visual\.trunk\.attn_pool|vision_model\.head|(text\.)?logit_bias$)", _TAKE),
    _Origin(
        "a MobileCLIP",
        r"(visual\.trunk\.stem\.\d+\.(?!weight$|bias$)|image_encoder\.model\.(patch_embed|network)\.)",
        _TAKE,
    ),
)
"""In order: a PE has an attention pooling, as a SigLIP has."""


def _origin_of(official: Mapping[str, Tensor], origins: Sequence[_Origin]) -> _Origin | None:
    """The first origin whose mark the weights have."""
    return next((one for one in origins if any(re.match(one.mark, name) for name in official)), None)


def refuse_clips_without_towers(official: Mapping[str, Tensor]) -> None:
    """Refuse weights of CLIPs whose towers segvoc doesn't have; their names look like those of CLIPs that it has.

    Raises:
        CheckpointError: The weights are of such a CLIP.
    """
    origin = _origin_of(official, _CLIPS_WITHOUT_TOWERS)
    if origin is not None:
        raise CheckpointError(f"these are weights of {origin.name}, whose towers segvoc doesn't have; {origin.fix}")


def refuse_other_origins(official: Mapping[str, Tensor], *wanted: str) -> None:
    """Refuse weights that are recognized as those of another network; weights of unknown networks pass.

    Args:
        official: the weights; only their names are read.
        wanted: the origins to accept, as errors call them.

    Raises:
        CheckpointError: The weights are from elsewhere.
    """
    origin = _origin_of(official, _ORIGINS)
    if origin is not None and origin.name not in wanted:
        raise CheckpointError(f"these are weights of {origin.name}, not of {wanted[0]}; {origin.fix}")

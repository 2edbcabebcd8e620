"""Recognizes published weights by their names, for errors that say what they are and how to load them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segvoc.checkpoints.transformers_names import CLIP_MARK
from segvoc.errors import CheckpointError


def content_hash(module: nn.Module) -> str:
    """A digest of a module's state: BLAKE2b over the name, type, shape and every byte of each tensor.

    CPU and GPU tensors give different digests, since their results differ; all GPUs give the same digest.
    Reading takes about 1.5 s per gigabyte: do it once per run, not per call.
    """
    digest = hashlib.blake2b(digest_size=16)
    tensors = {name: value.detach() for name, value in module.state_dict().items()}
    for name, value in tensors.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {value.device.type}\n".encode())
    for value in tensors.values():
        digest.update(value.flatten().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


_BOTH = "--encoder-weights ViT-B-16.pt,dinov2_vits14_pretrain.pth"

BOTH_DINO_FILES = "DINOTXT.pth,DINOV3_VITL16.pth"
"""Option value with both dino.txt's and DINOv3's files."""


@dataclass(frozen=True)
class _Origin:
    """A network that weights come from."""

    name: str
    """Its name in errors."""
    mark: str
    """Regular expression for name prefixes unique to its weights."""
    fix: str
    """The fix to suggest in errors."""


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
    _Origin("DINOv3", r"storage_tokens$", f"set encoder=dinov3-l, with dino.txt's file first: {BOTH_DINO_FILES}"),
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
    _Origin(
        "CLIP",
        rf"visual\.|image_encoder\.model\.|{re.escape(CLIP_MARK)}|vision_model\.head\.",
        f"networks of parts start from them and DINOv2's: {_BOTH}",
    ),
)
"""Ordered, since the weights of a network contain those of its encoders, which follow."""


CLIP_FAMILIES = {
    "DINOv3": r"visual_model\.head\.|text_model\.backbone\.",
    "PE-Core": r"visual\.(trunk\.norm_pre|attn_pool)\.",
    "SigLIP": r"(visual\.trunk\.attn_pool|vision_model\.head|(text\.)?logit_bias$)",
    "MobileCLIP": r"(visual\.trunk\.stem\.\d+\.(?!weight$|bias$)|image_encoder\.model\.(patch_embed|network)\.)",
    "ConvNeXt-CLIP": r"visual\.trunk\.(stem|stages)\.",
    "EVA02-CLIP": r"visual\.(trunk|blocks)\.",
    "OpenAI CLIP": rf"visual\.transformer\.|{re.escape(CLIP_MARK)}",
}
"""Families of CLIP models, and what names of their weights begin with. In order: a PE-Core has an attention pooling, as
a SigLIP has, and its authors' names are OpenAI's else."""


def clip_family(official: Mapping[str, Tensor]) -> str | None:
    """The family of CLIP models whose names weights have."""
    marks = CLIP_FAMILIES.items()
    return next((name for name, mark in marks if any(re.match(mark, key) for key in official)), None)


def refuse_other_origins(official: Mapping[str, Tensor], *wanted: str) -> None:
    """Refuse weights that are recognized as those of another network; weights of unknown networks pass.

    Args:
        official: the weights; only their names are read.
        wanted: names of the accepted origins.

    Raises:
        CheckpointError: The weights are from another origin.
    """
    origin = next((one for one in _ORIGINS if any(re.match(one.mark, name) for name in official)), None)
    if origin is not None and origin.name not in wanted:
        raise CheckpointError(f"these are weights of {origin.name}, not of {wanted[0]}; {origin.fix}")

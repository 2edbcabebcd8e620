"""Recognizes published weights by their names, for errors that say what they are and how to load them."""

import hashlib
import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segvoc.errors import CheckpointError

TOKENIZER = "tokenizer"
"""Name of a text encoder's buffer with the content of its tokenizer's file; a SigLIP has one."""


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
        digest.update(value.contiguous().flatten().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


_BOTH = "--encoder-weights ViT-B-16.pt,dinov2_vits14_pretrain.pth"

BOTH_DINO_FILES = "DINOTXT.pth,DINOV3_VITL16.pth"
"""Option value with both dino.txt's and DINOv3's files."""


_CLIP_MARK = r"vision_model\.pre_layrnorm\."
"""Prefix (misspelled in transformers) unique to OpenAI's CLIP: SigLIP and other models share `vision_model.`."""

_PREDICTOR = r"sem_seg_head\.predictor\."
_ORIGINS = (
    ("CLIPSeg", r"(decoder\.)?film_mul\.", "load them as clipseg"),
    (
        "PartCATSeg",
        rf"backbone\.dinov2\.|{_PREDICTOR}transformer\.layers_specific_part\.",
        "load them as part-cat-seg-b",
    ),
    ("ERR-Seg", r"sem_seg_head\.(clip_model|decoder)\.", "load them as err-seg-b or err-seg-l"),
    ("CAT-Seg or PCA-Seg", _PREDICTOR, "load them as one of the cat-seg or pca-seg models"),
    ("DINOv3", r"storage_tokens$", f"set encoder=dinov3-l, with dino.txt's file first: {BOTH_DINO_FILES}"),
    (
        "DINOv2",
        r"blocks\.\d+\.ls1\.gamma|(dinov2\.)?encoder\.layer\.\d+\.layer_scale1\.lambda1",
        f"networks of parts start from them, named after a CLIP: {_BOTH}",
    ),
    (
        "an image encoder alone",
        r"blocks\.\d+\.attn\.|stages\.\d+\.blocks\.",
        "take a file with the text encoder too (in timm's repositories open_clip_model.safetensors)",
    ),
    (
        "CLIP",
        rf"visual\.|image_encoder\.model\.|{_CLIP_MARK}|vision_model\.head\.",
        f"networks of parts start from them and DINOv2's: {_BOTH}",
    ),
)
"""The name of a network that weights come from, what its weights' names begin with, and the fix to suggest.

In order, since the weights of a network contain those of its encoders, which follow."""


CLIP_FAMILIES = {
    "DINOv3": r"visual_model\.head\.|text_model\.backbone\.",
    "PE-Core": r"visual\.(trunk\.norm_pre|attn_pool)\.",
    "SigLIP": r"(visual\.trunk\.attn_pool|vision_model\.head|(text\.)?logit_bias$)",
    "MobileCLIP": r"(visual\.trunk\.stem\.\d+\.(?!weight$|bias$)|image_encoder\.model\.(patch_embed|network)\.)",
    "ConvNeXt-CLIP": r"visual\.trunk\.(stem|stages)\.",
    "EVA02-CLIP": r"visual\.(trunk|blocks)\.",
    "OpenAI CLIP": rf"visual\.transformer\.|{_CLIP_MARK}",
}
"""Families of CLIP models, and what names of their weights begin with. In order: a PE-Core has an attention pooling, as
a SigLIP has, and its authors' names are OpenAI's else."""


def clip_family(official: Mapping[str, Tensor]) -> str | None:
    """The family of CLIP models whose names weights have."""
    marks = CLIP_FAMILIES.items()
    return next((name for name, mark in marks if any(re.match(mark, key) for key in official)), None)


def refuse_other_origins(official: Mapping[str, Tensor], *wanted: str) -> None:
    """Refuse weights whose names are those of a network that isn't wanted; weights of unknown networks pass."""
    for origin, mark, fix in _ORIGINS:
        if any(re.match(mark, name) for name in official):
            if origin not in wanted:
                raise CheckpointError(f"these are weights of {origin}, not of {wanted[0]}; {fix}")
            return

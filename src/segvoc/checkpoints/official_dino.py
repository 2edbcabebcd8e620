"""Key map from published DINOv2 weights to our tower, whose names are timm's.

It reads them with the names of Meta and timm, which agree, and of transformers' `Dinov2Model` and
`Dinov2ForImageClassification`: those of its files, and those that version 5 has in memory.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from segvoc.checkpoints.origins import refuse_other_origins
from segvoc.checkpoints.strict import fit_thirds, renamed, third

_CLASSIFIER = "dinov2."
"""Prefix of the tower's weights in `Dinov2ForImageClassification`."""

_PACKED = ".attn.qkv."
_FILES_THIRDS = {"query": "q", "key": "k", "value": "v"}
_FROM_TRANSFORMERS = (
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (
        r"\.attention\.attention\.(query|key|value)\.(weight|bias)$",
        lambda found: third(f"{_PACKED}{found[2]}", _FILES_THIRDS[found[1]]),
    ),
    (r"\.attention\.([qkv])_proj\.(weight|bias)$", lambda found: third(f"{_PACKED}{found[2]}", found[1])),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
_MASK_TOKEN = "mask_token"
"""The embedding for masked patches, which only DINOv2's own training uses."""


def dino_state(official: Mapping[str, Tensor], dino: nn.Module) -> dict[str, Tensor]:
    """State dict for a `DinoTokens`.

    A classifier on top of the tower is ignored.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    refuse_other_origins(official, "DINOv2")
    has_classifier = any(name.startswith(_CLASSIFIER) for name in official)
    expected = {name: value.shape for name, value in dino.state_dict().items()}
    weights = (
        (name, f"tower.{ours}", value)
        for name, value in official.items()
        if (ours := _timm_name(name)) != _MASK_TOKEN
        and not (has_classifier and re.fullmatch(r"classifier\.(weight|bias)", name))
    )
    return fit_thirds(weights, expected, "DINOv2", _PACKED)


def _timm_name(official: str) -> str:
    return renamed(official.removeprefix(_CLASSIFIER), _FROM_TRANSFORMERS)

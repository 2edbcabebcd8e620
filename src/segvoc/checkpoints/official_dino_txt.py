"""Key map from Meta's weights of DINOv3 and of dino.txt, two files, to our towers."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from segvoc.checkpoints.official_clip import Renamed, TowerStates, map_towers, split_packed
from segvoc.checkpoints.origins import BOTH_DINO_FILES
from segvoc.checkpoints.strict import renamed
from segvoc.errors import CheckpointError

_BACKBONE_MARK = "storage_tokens"
_UNUSED = re.compile(r"mask_token|rope_embed\.periods|.*\.bias_mask|blocks\..*qkv\.bias|local_cls_norm\..*")
_IMAGE = (
    (r"^visual_model\.head\.blocks\.", "image.head."),
    (r"^visual_model\.head\.ln_final\.", "image.head.2."),
    (r"^(?!image\.)", "image.tower."),
    (r"storage_tokens$", "reg_token"),
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.mlp\.w1\.", ".mlp.fc1_g."),
    (r"\.mlp\.w2\.", ".mlp.fc1_x."),
    (r"\.mlp\.w3\.", ".mlp.fc2."),
)
_TEXT = (
    (r"^text_model\.backbone\.blocks\.", "text.tower.transformer.resblocks."),
    (r"^text_model\.backbone\.", "text.tower."),
    (r"\.attention_norm\.", ".ln_1."),
    (r"\.attention\.proj\.", ".attn.out_proj."),
    (r"\.attention\.qkv\.", ".attn.in_proj_"),
    (r"\.ffn_norm\.", ".ln_2."),
    (r"\.feed_forward\.fc1\.", ".mlp.c_fc."),
    (r"\.feed_forward\.fc2\.", ".mlp.c_proj."),
)


def dino_txt_states(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for a `DinoTxtImageEncoder` and its `ClipTextEncoder`.

    It reads the names of both of Meta's files together: DINOv3, and dino.txt's head with its text encoder.

    Raises:
        CheckpointError: One of the files is missing, a name or shape doesn't fit, or a parameter has no value.
    """
    if _BACKBONE_MARK not in official:
        raise CheckpointError(
            f"these are dino.txt's head and text encoder alone; name DINOv3's file too: {BOTH_DINO_FILES}"
        )
    biased = [name for name, value in official.items() if name.endswith("qkv.bias") and value[value.isfinite()].any()]
    if biased:
        raise CheckpointError(f"{biased[0]} isn't zero, as in the DINOv3 ViT-L/16 of web images (lvd1689m); take that")
    weights = {name: value for name, value in official.items() if _UNUSED.fullmatch(name) is None}
    return map_towers(weights, image_encoder, text_encoder, _rename)


def _rename(name: str, value: Tensor) -> Renamed:
    if name == "logit_scale":
        yield "text.logit_scale", value.reshape(())
    elif name == "text_model.head.linear_projection.weight":
        yield "text.tower.text_projection", value[len(value) // 2 :].mT if value.ndim == 2 else value
    elif name.startswith("text_model."):
        ours = renamed(name, _TEXT)
        yield from split_packed(ours, value)
        if ours.endswith(".in_proj_weight"):  # their queries, keys and values have no biases
            yield from split_packed(ours.replace("_weight", "_bias"), torch.zeros(len(value)))
    else:
        yield from split_packed(renamed(name, _IMAGE), value, ".qkv.", ".qkv.")

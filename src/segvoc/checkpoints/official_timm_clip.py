"""Key maps from published SigLIP 2, PE-Core and MobileCLIP weights to our towers."""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from open_clip.convert import convert_mobile_clip_state_dict
from timm.models.eva import checkpoint_filter_fn
from torch import Tensor, nn

from segvoc.checkpoints.official_clip import Renamed, TowerStates, map_towers, resized_positions, split_packed
from segvoc.checkpoints.transformers_names import open_clip_form_of_siglip
from segvoc.encoders.base import TOKENIZER
from segvoc.encoders.clip_text import SiglipTextEncoder
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.errors import CheckpointError

_TRUNK = "visual.trunk."


def timm_clip_states(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for a `TimmClipImageEncoder` and its text encoder.

    It reads open_clip's names; of SigLIP 2 also transformers', of PE-Core Meta's, and of MobileCLIP Apple's. Position
    embeddings of another grid are resized (bicubic).

    Raises:
        CheckpointError: A name or shape doesn't fit, a parameter has no value, or a SigLIP comes without its tokenizer.
    """
    tower = cast(TimmClipImageEncoder, image_encoder).tower
    weights = _open_clip_form(official, tower)
    table = f"{_TRUNK}pos_embed"
    if table in weights:
        others = tower.num_prefix_tokens
        weights[table] = resized_positions(weights[table], math.isqrt(tower.pos_embed.shape[1] - others), others)
    if isinstance(text_encoder, SiglipTextEncoder) and TOKENIZER not in weights:
        raise CheckpointError(
            "these weights come without their tokenizer; put the file tokenizer.json of the same model beside them"
        )
    return map_towers(weights, image_encoder, text_encoder, _timm_name)


def _open_clip_form(official: Mapping[str, Tensor], tower: nn.Module) -> dict[str, Tensor]:
    """The weights by open_clip's names."""
    if any(name.startswith("image_encoder.model.") for name in official):
        model = cast(Any, SimpleNamespace(visual=SimpleNamespace(trunk=tower)))
        try:
            return convert_mobile_clip_state_dict(model, dict(official))
        except KeyError as error:
            raise CheckpointError(f"these MobileCLIP weights lack {error}; fetch the file again") from None
    if "visual.conv1.weight" in official:
        image = {f"{_TRUNK}{name}": value for name, value in checkpoint_filter_fn(dict(official), tower).items()}
        text = {name: value for name, value in official.items() if not name.startswith("visual.")}
        return image | {name if name == "logit_scale" else f"text.{name}": value for name, value in text.items()}
    if any(name.startswith("vision_model.") for name in official):
        return open_clip_form_of_siglip(official)
    return dict(official)


def _timm_name(name: str, value: Tensor) -> Renamed:
    if name == TOKENIZER:
        yield f"text.{TOKENIZER}", value
    elif name == "logit_scale":
        yield "text.logit_scale", value.reshape(())
    elif name.startswith(_TRUNK):
        yield from split_packed(f"image.tower.{name.removeprefix(_TRUNK)}", value, ".qkv.", ".qkv.")
    elif name != "logit_bias":
        yield from split_packed(f"text.tower.{name.removeprefix('text.')}", value)

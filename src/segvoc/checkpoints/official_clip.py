"""Published CLIP weights in our towers' parameter names, whoever published them.

OpenAI CLIP as OpenAI, open_clip, CAT-Seg and PCA-Seg name it; EVA02-CLIP as its authors, DeCLIP, PCA-Seg and open_clip
(whose image tower is timm's, like ours) name it. Every function is strict: each published name is used or known to be
needless, each of our parameters is filled with its shape, or else a `CheckpointError` says what doesn't fit. Values
keep their dtype (OpenAI publishes float16).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from segvoc.checkpoints.strict import fit_exactly

TowerStates = tuple[dict[str, Tensor], dict[str, Tensor]]  # for the image encoder, for the text encoder

_OLD_TEXT_NAMES = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
# Sizes that OpenAI stores among the weights, and tables that are computed here for any grid.
_NEEDLESS = re.compile(r"input_resolution|context_length|vocab_size|(text\.)?attn_mask|(.+\.)?rope\.freqs_(cos|sin)")
_EVA_TO_TIMM = {
    "attn.q_bias": "attn.q_proj.bias",
    "attn.v_bias": "attn.v_proj.bias",
    "attn.inner_attn_ln.": "attn.norm.",
    "mlp.w1.": "mlp.fc1_g.",
    "mlp.w2.": "mlp.fc1_x.",
    "mlp.ffn_ln.": "mlp.norm.",
    "mlp.w3.": "mlp.fc2.",
}


def openai_clip_states(
    official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module
) -> TowerStates:
    """State dicts for an `OpenAIClipImageEncoder` and its `ClipTextEncoder`.

    Args: official: names as OpenAI and open_clip publish them (q, k, v packed in `attn.in_proj_weight`) or as CAT-Seg
    and PCA-Seg save them (`attn.q_proj_weight`, ...), without the prefix `sem_seg_head.predictor.clip_model.`.
    image_encoder, text_encoder: the towers to fill (only names and shapes are read: those on `meta` will do).

    Raises: CheckpointError: a name or a shape that doesn't fit, or a parameter without a value.
    """
    return _map_towers(official, image_encoder, text_encoder, _rename_openai)


def eva_clip_states(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for an `EvaClipImageEncoder` and its `ClipTextEncoder`.

    Args: official: names as PCA-Seg saves them, as EVA-CLIP's and DeCLIP's authors publish them (the names of the text
    tower with or without "text."), or as open_clip does ("visual.trunk."); a position table of another grid is resized
    (bicubic). image_encoder, text_encoder: the towers to fill (those on `meta` will do).

    Raises: CheckpointError: a name or a shape that doesn't fit, or a parameter without a value.
    """
    official = {f"text.{name}" if name.startswith(_OLD_TEXT_NAMES) else name: x for name, x in official.items()}
    side = math.isqrt(image_encoder.state_dict()["tower.pos_embed"].shape[1] - 1)
    for name in ("visual.pos_embed", "visual.trunk.pos_embed"):
        if name in official:
            official[name] = _resized(official[name], side)
    return _map_towers(official, image_encoder, text_encoder, _rename_eva)


def _resized(table: Tensor, side: int) -> Tensor:
    """A position table with its grid brought to side x side; what is no such table stays as it is."""
    cells = table.shape[1] - 1 if table.ndim == 3 else 0
    if cells < 1 or math.isqrt(cells) ** 2 != cells:
        return table
    return resample_abs_pos_embed(table, [side, side], antialias=False)


def _rename_openai(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name == "logit_scale":
        yield "text.logit_scale", value
    else:
        tower = "image" if name.startswith("visual.") else "text"
        name = re.sub(r"attn\.([qkv])_proj_weight$", r"attn.\1_proj.weight", name.removeprefix("visual."))
        yield from _split_packed(f"{tower}.tower.{name}", value)


def _rename_eva(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name == "logit_scale":
        yield "text.logit_scale", value
    elif name.startswith("visual.trunk."):
        yield f"image.tower.{name.removeprefix('visual.trunk.')}", value
    elif name.startswith("visual."):
        for theirs, ours in _EVA_TO_TIMM.items():
            name = name.replace(theirs, ours)
        yield f"image.tower.{name.removeprefix('visual.')}", value
    else:
        yield from _split_packed(f"text.tower.{name.removeprefix('text.')}", value)


def _split_packed(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """One name for most; three for a packed `in_proj_weight` or `in_proj_bias`."""
    stem, packed, kind = name.partition("attn.in_proj_")
    if packed and value.ndim:
        yield from zip((f"{stem}attn.{letter}_proj.{kind}" for letter in "qkv"), value.tensor_split(3), strict=True)
    else:
        yield name, value


def _map_towers(
    official: Mapping[str, Tensor],
    image_encoder: nn.Module,
    text_encoder: nn.Module,
    rename: Callable[[str, Tensor], Iterator[tuple[str, Tensor]]],
) -> TowerStates:
    expected = {f"image.{name}": value.shape for name, value in image_encoder.state_dict().items()}
    expected |= {f"text.{name}": value.shape for name, value in text_encoder.state_dict().items()}
    renamed = (
        (theirs, ours, part)
        for theirs, value in official.items()
        if not _NEEDLESS.fullmatch(theirs)
        for ours, part in rename(theirs, value)
    )
    found = fit_exactly(renamed, expected, "CLIP")
    image, text = (
        {name.removeprefix(tower): value for name, value in found.items() if name.startswith(tower)}
        for tower in ("image.", "text.")
    )
    return image, text

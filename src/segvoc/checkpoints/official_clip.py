"""Key maps from published CLIP weights to the parameter names of our towers.

They read OpenAI CLIP with the names of OpenAI, open_clip, transformers, CAT-Seg and PCA-Seg, and EVA02-CLIP with the
names of its authors, DeCLIP, PCA-Seg and open_clip (whose image tower is timm's, like ours). All of them are strict:
each published name must be used or known to be irrelevant, and each of our parameters must get a value of its shape,
otherwise they raise a `CheckpointError` that lists the differences. Values keep their dtype (OpenAI publishes float16).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping

from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

from segvoc.checkpoints.strict import fit_exactly
from segvoc.checkpoints.transformers_names import is_position_ids, openai_form
from segvoc.errors import CheckpointError

Renamed = Iterator[tuple[str, Tensor]]
"""Our names and values for a published one."""

TowerStates = tuple[dict[str, Tensor], dict[str, Tensor]]
"""State dicts of the image encoder and of the text encoder."""

_PROMPTS = "visual prompts"
"""Pseudo-name of the image tower's visual prompts, which no CLIP has."""

_OLD_TEXT_NAMES = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
# Sizes stored by OpenAI among the weights, masks stored by TorchScript, and tables that we compute for any grid.
_IGNORED = re.compile(r"input_resolution|context_length|vocab_size|(.+\.)?attn_mask|(.+\.)?rope\.freqs_(cos|sin)")
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

    It reads the names of OpenAI and open_clip (q, k, v packed in `attn.in_proj_weight`), of transformers' `CLIPModel`
    (`text_model.*`, `vision_model.*`), and of CAT-Seg and PCA-Seg (`attn.q_proj_weight`, ...) without the prefix
    `sem_seg_head.predictor.clip_model.`.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    return map_towers(_with_prompts(official, image_encoder), image_encoder, text_encoder, _rename_openai)


def _with_prompts(official: Mapping[str, Tensor], image_encoder: nn.Module) -> Mapping[str, Tensor]:
    """The weights, and the image tower's own visual prompts, which no CLIP has."""
    prompts = dict(image_encoder.named_parameters()).get("prompts.table")
    if prompts is None:
        return official
    if prompts.is_meta:
        raise CheckpointError("a CLIP has no visual prompts, which have to be trained; leave out visual_prompts")
    return {**official, _PROMPTS: prompts.detach()}


def eva_clip_states(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for an `EvaClipImageEncoder` and its `ClipTextEncoder`.

    It reads the names of PCA-Seg, of EVA-CLIP's and DeCLIP's authors (those of the text tower with or without "text."),
    and of open_clip ("visual.trunk."). Position embeddings of another grid are resized (bicubic).

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    official = {f"text.{name}" if name.startswith(_OLD_TEXT_NAMES) else name: x for name, x in official.items()}
    side = math.isqrt(image_encoder.state_dict()["tower.pos_embed"].shape[1] - 1)
    for name in ("visual.pos_embed", "visual.trunk.pos_embed"):
        if name in official:
            official[name] = resized_positions(official[name], side)
    return map_towers(official, image_encoder, text_encoder, _rename_eva)


def resized_positions(table: Tensor, side: int, others: int = 1) -> Tensor:
    """Resize position embeddings to a grid of side x side; other tensors are returned unchanged.

    Args:
        table: the embeddings (1 N C), those of `others` tokens before those of the cells.
        side: rows and columns of cells.
        others: number of tokens that aren't cells.
    """
    cells = table.shape[1] - others if table.ndim == 3 else 0
    if cells < 1 or math.isqrt(cells) ** 2 != cells:
        return table
    return resample_abs_pos_embed(table, [side, side], num_prefix_tokens=others, antialias=False)


def _rename_openai(name: str, value: Tensor) -> Renamed:
    if name == _PROMPTS:
        yield "image.prompts.table", value
        return
    name, value = openai_form(name, value)
    if name == "logit_scale":
        yield "text.logit_scale", value
    else:
        tower = "image" if name.startswith("visual.") else "text"
        name = re.sub(r"attn\.([qkv])_proj_weight$", r"attn.\1_proj.weight", name.removeprefix("visual."))
        yield from split_packed(f"{tower}.tower.{name}", value)


def _rename_eva(name: str, value: Tensor) -> Renamed:
    if name == "logit_scale":
        yield "text.logit_scale", value
    elif name.startswith("visual.trunk."):
        yield f"image.tower.{name.removeprefix('visual.trunk.')}", value
    elif name.startswith("visual."):
        for theirs, ours in _EVA_TO_TIMM.items():
            name = name.replace(theirs, ours)
        yield f"image.tower.{name.removeprefix('visual.')}", value
    else:
        yield from split_packed(f"text.tower.{name.removeprefix('text.')}", value)


def split_packed(name: str, value: Tensor, packed: str = "attn.in_proj_", apart: str = "attn.") -> Renamed:
    """Split a packed `in_proj_weight` or `in_proj_bias` into q, k and v; yield anything else unchanged.

    Args:
        name: our name of a weight.
        value: the weight.
        packed: marker of packed names, before "weight" or "bias".
        apart: our marker of separate names, before "q_proj." and so on.
    """
    stem, found, suffix = name.partition(packed)
    if found and suffix in ("weight", "bias") and value.ndim:
        yield from zip((f"{stem}{apart}{letter}_proj.{suffix}" for letter in "qkv"), value.tensor_split(3), strict=True)
    else:
        yield name, value


def map_towers(
    official: Mapping[str, Tensor],
    image_encoder: nn.Module,
    text_encoder: nn.Module,
    rename: Callable[[str, Tensor], Renamed],
) -> TowerStates:
    """State dicts for two towers.

    Args:
        official: published names and values.
        image_encoder: the image encoder.
        text_encoder: the text encoder.
        rename: maps a published name and value to our names, prefixed by "image." or "text.", and values.

    Raises:
        CheckpointError: A name or shape doesn't fit, or a parameter has no value.
    """
    expected = {f"image.{name}": value.shape for name, value in image_encoder.state_dict().items()}
    expected |= {f"text.{name}": value.shape for name, value in text_encoder.state_dict().items()}
    renamed = (
        (theirs, ours, tensor)
        for theirs, value in official.items()
        if not (_IGNORED.fullmatch(theirs) or is_position_ids(theirs))
        for ours, tensor in rename(theirs, value)
    )
    found = fit_exactly(renamed, expected, "CLIP")
    image, text = (
        {name.removeprefix(tower): value for name, value in found.items() if name.startswith(tower)}
        for tower in ("image.", "text.")
    )
    return image, text

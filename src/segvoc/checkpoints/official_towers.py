"""Published weights of any family for the towers of a network: CLIPs and DINOv2.

The maps are strict, as those of `official_clip.py`.
"""

import math
import re
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import torch
from open_clip.convert import convert_mobile_clip_state_dict
from open_clip.transformer import QuickGELU
from timm.models.eva import Eva, checkpoint_filter_fn
from timm.models.fastvit import FastVit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from segvoc.checkpoints.official_clip import (
    Renamed,
    TowerStates,
    eva_clip_states,
    map_towers,
    open_clip_form_of_siglip,
    openai_clip_states,
    rename_openai,
    resized_positions,
    split_packed,
)
from segvoc.checkpoints.origins import BOTH_DINO_FILES, clip_family, refuse_other_origins
from segvoc.checkpoints.strict import fit_thirds, inside, renamed, shapes_of, third, with_prefixes
from segvoc.encoders.base import TOKENIZER
from segvoc.encoders.clip_text import SiglipTextEncoder
from segvoc.encoders.clip_with_dino import ClipWithDino, DinoTxtImageEncoder
from segvoc.encoders.convnext_clip import ConvNextClipImageEncoder
from segvoc.encoders.eva_clip import EvaClipImageEncoder
from segvoc.encoders.openai_clip import OpenAIClipImageEncoder
from segvoc.encoders.timm_clip import TimmClipImageEncoder
from segvoc.encoders.vit import TIMM_CLIPS
from segvoc.errors import ActivationWarning, CheckpointError
from segvoc.layers.cost_sum import COSINES, CosineLogits, NoAggregation
from segvoc.networks.base import SegmentationNetwork

ERR_CLIP = "sem_seg_head.clip_model."
"""Prefix of the towers' weights in the released ERR-Seg."""

_STRIDE_ONE = "visual.modify_downsample."
_CONVNEXT = (
    (r"^visual\.modify_downsample\.0\.", "stride_one.0.norm."),
    (r"^visual\.modify_downsample\.2\.", "stride_one.0.conv."),
    (r"^visual\.head\.(proj|mlp)\.", "project."),
    (r"^visual\.trunk\.", "tower."),
)


def convnext_clip_states(
    official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module
) -> TowerStates:
    """State dicts for a `ConvNextClipImageEncoder` and its `ClipTextEncoder`.

    It reads a plain CLIP as published by open_clip, or the towers from the whole state dict of the released ERR-Seg.
    `visual.modify_downsample` is ignored if the tower only uses stride 32.
    """
    clip = inside(ERR_CLIP, official) or with_stride_one(official)
    if not any(name.startswith("stride_one.") for name in image_encoder.state_dict()):
        clip = {name: value for name, value in clip.items() if not name.startswith(_STRIDE_ONE)}
    return map_towers(clip, image_encoder, text_encoder, _rename_convnext)


def with_stride_one(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add ERR-Seg's downsampling with stride 1 to a plain CLIP, initialized from that of the last stage (Eq. 2)."""
    if any(name.startswith(_STRIDE_ONE) for name in clip):
        return dict(clip)
    copies = {
        name.replace(f"visual.trunk.stages.3.downsample.{theirs}.", f"{_STRIDE_ONE}{ours}."): value.clone()
        for theirs, ours in (("0", "0"), ("1", "2"))
        for name, value in clip.items()
        if name.startswith(f"visual.trunk.stages.3.downsample.{theirs}.")
    }
    return {**clip, **copies}


def _rename_convnext(name: str, value: Tensor) -> Renamed:
    if name.startswith("visual."):
        yield f"image.{renamed(name, _CONVNEXT)}", value
    else:
        yield from rename_openai(name, value)


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


_TRUNK = "visual.trunk."


def timm_clip_states(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for a `TimmClipImageEncoder` and its text encoder.

    It reads open_clip's names; of SigLIP 2 also transformers', of PE-Core Meta's, and of MobileCLIP Apple's. Position
    embeddings of another grid are resized (bicubic). A SigLIP needs its tokenizer among the weights.
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
    return map_towers(weights, image_encoder, text_encoder, _rename_timm)


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


def _rename_timm(name: str, value: Tensor) -> Renamed:
    if name == TOKENIZER:
        yield f"text.{TOKENIZER}", value
    elif name == "logit_scale":
        yield "text.logit_scale", value.reshape(())
    elif name.startswith(_TRUNK):
        yield from split_packed(f"image.tower.{name.removeprefix(_TRUNK)}", value, ".qkv.", ".qkv.")
    elif name != "logit_bias":
        yield from split_packed(f"text.tower.{name.removeprefix('text.')}", value)


_CLASSIFIER = "dinov2."
"""Prefix of the tower's weights in `Dinov2ForImageClassification`."""

_PACKED = ".attn.qkv."
_FROM_TRANSFORMERS = (
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.", "blocks."),
    (r"\.attention\.attention\.([qkv])[a-z]+\.", r".attention.\1_proj."),
    (r"\.attention\.([qkv])_proj\.(weight|bias)$", lambda found: third(f"{_PACKED}{found[2]}", found[1])),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
)
_MASK_TOKEN = "mask_token"
"""The embedding for masked patches, which only DINOv2's own training uses."""


def dino_state(official: Mapping[str, Tensor], dino: nn.Module) -> dict[str, Tensor]:
    """State dict for a `DinoTokens`; a classifier on top of the tower is ignored."""
    refuse_other_origins(official, "DINOv2")
    has_classifier = any(name.startswith(_CLASSIFIER) for name in official)
    weights = (
        (name, f"tower.{ours}", value)
        for name, value in official.items()
        if (ours := renamed(name.removeprefix(_CLASSIFIER), _FROM_TRANSFORMERS)) != _MASK_TOKEN
        and not (has_classifier and re.fullmatch(r"classifier\.(weight|bias)", name))
    )
    return fit_thirds(weights, shapes_of(dino), "DINOv2", _PACKED)


class _Family(NamedTuple):
    """A family of CLIP models."""

    name: str
    """Its name in `CLIP_FAMILIES`."""
    encoder: type[nn.Module]
    """Class of the image encoder."""
    presets: str
    """Which presets to use it with, for error messages."""
    states: Callable[[Mapping[str, Tensor], nn.Module, nn.Module], TowerStates]
    """The key map."""
    tower: type[nn.Module] = nn.Module
    """Class of timm's model, for families that share an image encoder class."""


def _timm_family(name: str, tower: type[nn.Module]) -> _Family:
    kinds = [kind for kind in TIMM_CLIPS if kind.startswith(name.lower())]
    return _Family(name, TimmClipImageEncoder, f"set encoder={' or '.join(kinds)}", timm_clip_states, tower)


_FAMILIES = (
    _Family("ConvNeXt-CLIP", ConvNextClipImageEncoder, "use err-seg-b or err-seg-l", convnext_clip_states),
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
    """Warn if open_clip's names don't determine the towers' activation."""
    by_open_clip = "visual.transformer.resblocks.0.attn.in_proj_weight" in official
    by_openai = bool({"input_resolution", "context_length", "vocab_size"} & official.keys())
    if by_open_clip and not by_openai and any(isinstance(module, QuickGELU) for module in image_encoder.modules()):
        warnings.warn(
            "can't tell from the weights whether their activation is QuickGELU (OpenAI's, assumed) or GELU, as in most "
            "of open_clip's models (LAION, DataComp, DFN); for these, set activation=gelu",
            ActivationWarning,
            stacklevel=2,
        )


def towers_state(official: Mapping[str, Tensor], image_encoder: nn.Module, text_encoder: nn.Module) -> TowerStates:
    """State dicts for towers of any family; the class of the image encoder decides which.

    `official` is a CLIP in any format that the key maps of the family read.

    Raises:
        CheckpointError: The weights belong to another family (the message names its presets) or don't fit.
    """
    towers = (family for family in _FAMILIES if isinstance(image_encoder, family.encoder))
    wanted = next((one for one in towers if isinstance(image_encoder.get_submodule("tower"), one.tower)), None)
    if wanted is None:
        raise CheckpointError(
            "these are only a CLIP's encoders, but a part network needs two kinds; start a training "
            "with both: --encoder-weights ViT-B-16.pt,dinov2_vits14_pretrain.pth"
        )
    found = next((family for family in _FAMILIES if family.name == clip_family(official)), None)
    if found is None:
        refuse_other_origins(official, "CLIP", *(("ERR-Seg",) if wanted.encoder is ConvNextClipImageEncoder else ()))
    elif found is not wanted:
        raise CheckpointError(f"these are {found.name} weights, for towers of {wanted.name}; {found.presets}")
    _warn_of_activation(official, image_encoder)
    return wanted.states(official, image_encoder, text_encoder)


def clip_state(
    clip: Mapping[str, Tensor], network: SegmentationNetwork, companion: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The encoders' entries of a network's state dict, from a CLIP; see `towers_state`.

    `companion` has those of the image encoder's other part: DINOv2, or dino.txt's DINOv3.
    """
    tower, text_encoder = network.image_encoder, network.text_encoder
    if companion is None or isinstance(tower, DinoTxtImageEncoder):
        image, text = towers_state({**clip, **(companion or {})}, tower, text_encoder)
        return with_prefixes({"image_encoder.": image, "text_encoder.": text})
    if not isinstance(tower, ClipWithDino):
        raise CheckpointError("these weights contain CLIP and DINOv2; load them as part-cat-seg-b")
    image, text = towers_state(clip, tower.clip, text_encoder)
    state = with_prefixes({"image_encoder.clip.": image, "text_encoder.": text})
    return state | with_prefixes({"image_encoder.dino.": dino_state(companion, tower.dino)})


def is_plain_clip(official: Mapping[str, Tensor]) -> bool:
    """Whether weights are a plain CLIP, by their names."""
    return clip_family(official) is not None or any(name.startswith("visual.") for name in official)


def cosine_state(aggregation: nn.Module, logits: CosineLogits = COSINES) -> dict[str, Tensor]:
    """The aggregation's entries of the state dict of a network without one, with the logits of a CLIP alone."""
    if not isinstance(aggregation, NoAggregation):
        raise CheckpointError(
            "these are towers alone, a plain CLIP without an aggregation; give a checkpoint of the whole network, or "
            "use the towers alone with the option aggregation=none"
        )
    return {
        name: torch.full(shape, -logits.scale * logits.likely if name.endswith("bias") else logits.scale)
        for name, shape in shapes_of(aggregation, "aggregation.").items()
    }

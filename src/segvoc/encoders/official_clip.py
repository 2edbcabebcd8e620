"""Published weights of CLIPs for the encoders: the key map of OpenAI CLIP, and what all maps share.

The other families' maps stand beside their encoders. OpenAI CLIP is read with the names of OpenAI and open_clip (q, k
and v packed in `attn.in_proj_weight`), of transformers' `CLIPModel` (`text_model.*`, `vision_model.*`), and of CAT-Seg
and PCA-Seg (`attn.q_proj_weight`, ...) without the prefix `sem_seg_head.predictor.clip_model.`. All maps are strict:
each published name must be used or known to be irrelevant, and each of our parameters must get a value of its shape,
otherwise they raise a `CheckpointError` that lists the differences. Values keep their dtype (OpenAI publishes float16).

transformers' `CLIPModel`, and the CLIP in `CLIPSegForImageSegmentation`, have the same names in the files of 4.57 and
5.23; files of earlier versions may also contain the buffers `position_ids`.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from segvoc.checkpoints.origins import clip_family, refuse_other_origins
from segvoc.checkpoints.strict import fit_exactly, inside, renamed, shapes_of
from segvoc.encoders.vit import TIMM_CLIPS
from segvoc.errors import ActivationWarning, CheckpointError

Renamed = Iterator[tuple[str, Tensor]]
"""Our names and values for a published one."""

TowerStates = tuple[dict[str, Tensor], dict[str, Tensor]]
"""State dicts of the image encoder and of the text encoder."""


class PublishedTower(nn.Module):
    """An image encoder with published weights."""

    family: str
    """Its family's name in `CLIP_FAMILIES`."""
    rename: Callable[[str, Tensor], Renamed]
    """The key map of the image encoder and its text encoder, whose names begin with "image." and "text."."""
    companion: str | None = None
    """The part with a separate weights file, besides CLIP's."""

    def arranged(self, official: Mapping[str, Tensor], text_encoder: nn.Module) -> Mapping[str, Tensor]:
        """Published weights as `rename` takes them."""
        return official

    def published_states(
        self, clip: Mapping[str, Tensor], text_encoder: nn.Module, companion: Mapping[str, Tensor] | None = None
    ) -> TowerStates:
        """State dicts of this encoder and its text encoder from a CLIP, in any format that the family's map reads.

        `companion` has the weights of the image encoder's other part; weights of another family are refused.
        """
        if companion is not None and self.companion is None:
            raise CheckpointError("these weights contain CLIP and DINOv2; load them as part-cat-seg-b")
        official = {**clip, **(companion or {})}
        name = clip_family(official)
        if name is None:
            refuse_other_origins(official, "CLIP", *(("ERR-Seg",) if self.family == "ConvNeXt-CLIP" else ()))
        elif name != self.family:
            raise CheckpointError(f"these are {name} weights, for towers of {self.family}; {_use_of(name)}")
        _warn_of_activation(official, self)
        weights = (
            (theirs, ours, tensor)
            for theirs, value in self.arranged(official, text_encoder).items()
            if not _IGNORED.fullmatch(theirs)
            for ours, tensor in self.rename(theirs, value)
        )
        state = fit_exactly(weights, shapes_of(self, "image.") | shapes_of(text_encoder, "text."), "CLIP")
        return inside("image.", state), inside("text.", state)


def towers_state(
    clip: Mapping[str, Tensor],
    image_encoder: nn.Module,
    text_encoder: nn.Module,
    companion: Mapping[str, Tensor] | None = None,
) -> TowerStates:
    """State dicts for towers of any family; see `PublishedTower.published_states`."""
    if not isinstance(image_encoder, PublishedTower):
        raise CheckpointError("published weights of CLIPs don't fit this image encoder; leave them out")
    return image_encoder.published_states(clip, text_encoder, companion)


def is_plain_clip(official: Mapping[str, Tensor]) -> bool:
    """Whether weights are a plain CLIP, by their names."""
    return clip_family(official) is not None or any(name.startswith("visual.") for name in official)


_USES = {
    "ConvNeXt-CLIP": "use err-seg-b or err-seg-l",
    "EVA02-CLIP": "use pca-seg-b, pca-seg-l, eva-clip-b, eva-clip-l, cat-seg-eva-b or cat-seg-eva-l",
    "OpenAI CLIP": "use pca-seg-clip-b, pca-seg-clip-l, clip-b, clip-l, cat-seg-b or cat-seg-l",
}


def _use_of(family: str) -> str:
    """The presets or the option with encoders of a family, for error messages."""
    kinds = (kind for kind in TIMM_CLIPS if kind.startswith(family.lower()))
    return _USES.get(family) or f"set encoder={' or '.join(kinds)}"


def _warn_of_activation(official: Mapping[str, Tensor], image_encoder: nn.Module) -> None:
    """Warn if open_clip's names don't determine the towers' activation."""
    from open_clip.transformer import QuickGELU  # here, since open_clip takes seconds to import

    by_open_clip = "visual.transformer.resblocks.0.attn.in_proj_weight" in official
    by_openai = bool({"input_resolution", "context_length", "vocab_size"} & official.keys())
    if by_open_clip and not by_openai and any(isinstance(module, QuickGELU) for module in image_encoder.modules()):
        warnings.warn(
            "can't tell from the weights whether their activation is QuickGELU (OpenAI's, assumed) or GELU, as in most "
            "of open_clip's models (LAION, DataComp, DFN); for these, set activation=gelu",
            ActivationWarning,
            stacklevel=2,
        )


_IGNORED = re.compile(
    r"input_resolution|context_length|vocab_size|(.+\.)?(attn_mask|rope\.freqs_(cos|sin)|embeddings\.position_ids)"
)
"""Sizes stored by OpenAI among the weights, masks stored by TorchScript, and tables that we compute for any grid."""

_TO_OPENAI = (
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
)
_TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}


def resized_positions(table: Tensor, side: int, others: int = 1) -> Tensor:
    """Resize position embeddings (1 N C) to a grid of side x side; other tensors are returned unchanged.

    The embeddings of `others` tokens that aren't cells come first.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed  # here, since timm takes seconds to import

    cells = table.shape[1] - others if table.ndim == 3 else 0
    if cells < 1 or math.isqrt(cells) ** 2 != cells:
        return table
    return resample_abs_pos_embed(table, [side, side], num_prefix_tokens=others, antialias=False)


def rename_openai(name: str, value: Tensor) -> Renamed:
    """See `PublishedTower.rename`."""
    name, value = openai_form(name, value)
    if name == "logit_scale":
        yield "text.logit_scale", value
    else:
        tower = "image" if name.startswith("visual.") else "text"
        name = re.sub(r"attn\.([qkv])_proj_weight$", r"attn.\1_proj.weight", name.removeprefix("visual."))
        yield from split_packed(f"{tower}.tower.{name}", value)


def openai_form(name: str, value: Tensor) -> tuple[str, Tensor]:
    """A weight of transformers' CLIP by OpenAI's name and layout, with q, k and v separate; others are unchanged."""
    if name in _TRANSPOSED:
        return _TRANSPOSED[name], value.mT if value.ndim == 2 else value
    return renamed(name, _TO_OPENAI), value


def split_packed(name: str, value: Tensor, packed: str = "attn.in_proj_", apart: str = "attn.") -> Renamed:
    """Split a packed weight or bias into q, k and v, with `apart` for `packed` in their names; others are unchanged."""
    stem, marker, suffix = name.partition(packed)
    if marker and suffix in ("weight", "bias") and value.ndim:
        yield from zip((f"{stem}{apart}{letter}_proj.{suffix}" for letter in "qkv"), value.tensor_split(3), strict=True)
    else:
        yield name, value

"""Maps transformers' weight names of CLIP and SigLIP to OpenAI's and open_clip's.

`CLIPModel`, and the CLIP in `CLIPSegForImageSegmentation`, have the same names in the files of 4.57 and 5.23; files of
earlier versions may also contain the buffers `position_ids`.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from segvoc.checkpoints.strict import renamed

CLIP_MARK = "vision_model.pre_layrnorm."
"""Prefix (misspelled in transformers) unique to OpenAI's CLIP: SigLIP and other models share `vision_model.`."""

_POSITION_IDS = re.compile(r"(text|vision)_model\.embeddings\.position_ids")
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


def is_position_ids(name: str) -> bool:
    """Whether a name is the buffer 0, 1, 2, ... that early versions stored."""
    return _POSITION_IDS.fullmatch(name) is not None


def openai_form(name: str, value: Tensor) -> tuple[str, Tensor]:
    """Convert a weight of transformers' CLIP to OpenAI's name and layout; others are unchanged.

    Queries, keys and values stay separate (`attn.q_proj.weight`, ...).
    """
    if name in _TRANSPOSED:
        return _TRANSPOSED[name], value.mT if value.ndim == 2 else value
    return renamed(name, _TO_OPENAI), value


_SIGLIP_TO_OPEN_CLIP = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.trunk.patch_embed.proj."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.trunk.pos_embed"),
    (r"^vision_model\.post_layernorm\.", "visual.trunk.norm."),
    (r"^vision_model\.head\.probe$", "visual.trunk.attn_pool.latent"),
    (r"^vision_model\.head\.attention\.out_proj\.", "visual.trunk.attn_pool.proj."),
    (r"^vision_model\.head\.layernorm\.", "visual.trunk.attn_pool.norm."),
    (r"^vision_model\.head\.", "visual.trunk.attn_pool."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.layer_norm", r"visual.trunk.blocks.\1.norm"),
    (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"visual.trunk.blocks.\1.attn.proj."),
    (r"^vision_model\.encoder\.layers\.(\d+)\.self_attn\.", r"visual.trunk.blocks.\1.attn.qkv."),
    (r"^vision_model\.encoder\.layers\.", "visual.trunk.blocks."),
    (r"^text_model\.head\.", "text.text_projection."),
)


def open_clip_form_of_siglip(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of transformers' `SiglipModel` to open_clip's names and layout.

    Queries, keys and values of the blocks stay separate; in the pooling, only the queries do.
    """
    found: dict[str, Tensor] = {}
    for name, value in weights.items():
        if is_position_ids(name):
            continue
        stem, packed, suffix = name.partition("vision_model.head.attention.in_proj_")
        if packed and not stem and value.ndim:
            queries, others = value.tensor_split([len(value) // 3])
            found |= {f"visual.trunk.attn_pool.q.{suffix}": queries, f"visual.trunk.attn_pool.kv.{suffix}": others}
        elif name.startswith("text_model.") and not name.startswith("text_model.head."):
            found[f"text.{openai_form(name, value)[0]}"] = value
        else:
            ours = renamed(name, _SIGLIP_TO_OPEN_CLIP)
            found[ours] = value[None] if ours == "visual.trunk.pos_embed" else value
    return found

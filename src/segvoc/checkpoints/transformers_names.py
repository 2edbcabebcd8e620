"""Hugging Face's names of CLIP's weights, in its library transformers, and OpenAI's.

`CLIPModel`, and the CLIP in `CLIPSegForImageSegmentation`, have the same names in the files of 4.57 and 5.23; files of
earlier versions may also contain the buffers `position_ids`.
"""

import re

from torch import Tensor

from segvoc.checkpoints.strict import renamed

CLIP_MARK = "vision_model.pre_layrnorm."
"""Prefix, spelled so, that only OpenAI's CLIP has: SigLIP and other models share `vision_model.`."""

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
    """Whether a name is that of the numbers 0, 1, 2, ..., which early versions stored among the weights."""
    return _POSITION_IDS.fullmatch(name) is not None


def openai_form(name: str, value: Tensor) -> tuple[str, Tensor]:
    """OpenAI's name of a weight of transformers' CLIP, and the value as OpenAI stores it; others are unchanged.

    Queries, keys and values stay separate (`attn.q_proj.weight`, ...).
    """
    if name in _TRANSPOSED:
        return _TRANSPOSED[name], value.mT if value.ndim == 2 else value
    return renamed(name, _TO_OPENAI), value

"""Makes the goldens of Meta's DINOv3 with dino.txt: tests/golden/dino_txt.*.

Usage: PYTHONPATH=src:. python -m tests.golden.make_dino_txt CHECKOUT of github.com/facebookresearch/dinov3. Its own
code builds a small model, which is filled by the rule of `tests/dino_txt.py`. What is kept: names and shapes of the
weights in the two files that Meta publishes, and some values of the patch tokens, of two blocks and of the texts.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.dino_txt import (
    CONTEXT,
    DEPTH,
    HEADS,
    IMAGES,
    TEXT_HEADS,
    TEXT_LAYERS,
    TEXT_WIDTH,
    TOKENS,
    WIDTH,
    WORDS,
    dino_txt_parameter,
)
from tests.golden.cut import step_for
from tests.golden_sets import COMPACT
from tests.transformers_models import normalized

VALUES = 400
"""About so many values of an output are kept."""


def main(checkout: str) -> None:
    """Run Meta's model and write the goldens."""
    sys.path.insert(0, checkout)
    from dinov3.eval.text.dinotxt_model import DINOTxt, DINOTxtConfig  # pyright: ignore[reportMissingImports]
    from dinov3.eval.text.text_transformer import TextTransformer  # pyright: ignore[reportMissingImports]
    from dinov3.models.vision_transformer import DinoVisionTransformer  # pyright: ignore[reportMissingImports]

    backbone = DinoVisionTransformer(
        patch_size=16,
        pos_embed_rope_base=100,
        pos_embed_rope_normalize_coords="separate",
        pos_embed_rope_rescale_coords=2,
        pos_embed_rope_dtype="fp32",
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        layerscale_init=1e-5,
        norm_layer="layernormbf16",
        n_storage_tokens=4,
        mask_k_bias=True,
    )
    text = TextTransformer(CONTEXT, WORDS, TEXT_WIDTH, TEXT_HEADS, TEXT_LAYERS, 4, is_causal=True)
    config = DINOTxtConfig(
        embed_dim=2 * WIDTH,
        vision_model_use_patch_tokens=True,
        vision_model_num_head_blocks=2,
        text_model_tokens_pooler_type="argmax",
        text_model_use_linear_projection=True,
    )
    model = DINOTxt(config, vision_backbone=backbone, text_backbone=text).eval()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    prefix = "visual_model.backbone."
    files = {
        "backbone": {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)},
        "dino_txt": {name: shape for name, shape in shapes.items() if not name.startswith(prefix)},
    }
    names = {name: name.removeprefix(prefix) for name in shapes}
    model.load_state_dict({name: dino_txt_parameter(names[name], tuple(shape)) for name, shape in shapes.items()})
    backbone.rope_embed._init_weights()  # the periods aren't learned
    pixels = normalized(IMAGES, "imagenet")
    with torch.no_grad():
        _, patches, _ = model.encode_image_with_patch_tokens(pixels)
        blocks = backbone.get_intermediate_layers(pixels, n=[0, 1], norm=False, reshape=True)
        outputs = {"patches": patches, "block_0": blocks[0], "block_1": blocks[1], "texts": model.encode_text(TOKENS)}
    record: dict[str, object] = {"files": files, "tensors": {}}
    kept: dict[str, Tensor] = {}
    for name, value in outputs.items():
        step = step_for(value.numel(), VALUES)
        kept[name] = value.flatten()[::step].clone()
        record["tensors"][name] = {"shape": list(value.shape), "step": step}  # pyright: ignore[reportIndexIssue]
    save_file(kept, COMPACT / "dino_txt.safetensors")
    (COMPACT / "dino_txt.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))

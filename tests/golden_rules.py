"""The weights of the goldens, by name: the rule that the golden folder documents, and how stages are compared."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CLIP_PREFIX = "sem_seg_head.predictor.clip_model."


def golden_parameter(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of the official parameter `name` (with its prefix): a frozen random stream, scaled by its kind."""
    x = golden_input(name, shape)
    leaf = name.rsplit(".", 1)[-1]
    match leaf:
        case "running_var":
            return 0.5 + x.abs()
        case "running_mean":
            return 0.1 * x
        case "num_batches_tracked":
            return torch.zeros(shape, dtype=torch.int64)
        case "res_scale":
            return 0.5 + 0.05 * x
        case "logit_scale":
            return torch.full(shape, 2.6593)
    if "padding_tokens" in leaf or "padding_guidance" in leaf:
        return 0.2 * x
    if leaf.endswith("bias") or leaf in ("q_bias", "v_bias"):
        return 0.02 * x
    if len(shape) <= 1:
        return 0.05 * x if "class_embedding" in leaf else 1 + 0.05 * x
    if "embedding" in leaf or leaf in ("pos_embed", "cls_token") or "token_embedding" in name:
        return 0.05 * x
    used_as_right_factor = leaf in ("proj", "text_projection")
    fan_in = shape[0] if used_as_right_factor else math.prod(shape[1:])
    return x * fan_in**-0.5


def golden_input(name: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers that depend on the name and the shape alone."""
    stream = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    return torch.from_numpy(stream.standard_normal(max(math.prod(shape), 1)).astype(np.float32)).reshape(shape)


def golden_clip_weights(folder: Path, case: str) -> dict[str, Tensor]:
    """The CLIP part of a tiny complete model, in official names without their prefix; tables of constants left out."""
    record = json.loads((folder / "cat_pca" / f"{case}_weights.json").read_text())
    shapes = {name: tuple(shape) for name, (shape, _) in record["tensors"].items() if name.startswith(CLIP_PREFIX)}
    positions = next(
        shape for name, shape in shapes.items() if name.endswith("positional_embedding") and shape[0] == 77
    )
    shapes[record["token_embedding_key"]] = (49408, positions[1])
    return {
        name.removeprefix(CLIP_PREFIX): golden_parameter(name, shape)
        for name, shape in shapes.items()
        if "rope.freqs_" not in name
    }


def relative_error(ours: Tensor, golden: Tensor) -> float:
    """The largest absolute difference, in units of the golden's largest magnitude."""
    assert ours.shape == golden.shape, f"{tuple(ours.shape)} is not the golden's {tuple(golden.shape)}"
    return ((ours - golden).abs().max() / golden.abs().max()).item()

"""Cut the goldens of the official code down to what every clone carries: tests/golden.

Usage: PYTHONPATH=src:. python -m tests.golden.cut GOLDEN_FOLDER. A stage keeps some thousand of its values, spread
evenly over all of its axes, in fp32; images and labels are kept whole, as PNG files. Weights and random inputs are
not kept: the rule that made them is.
"""

import json
import math
import runpy
import sys
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

VALUES = 6_000

COMPACT = Path(__file__).resolve().parent
CASES = ("cat_aggregator", "pca_aggregator", "tiny_cat_openai", "tiny_pca_eva")
IMAGES = "tiny_pca_eva"
"""The case that keeps the images and labels, which all cases share."""

_BY_RULE = ("trunc.text_feats", "c300.text_feats")


def cut(full: Path, case: str) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Tensors and record of one case: its stages cut, its weights' names and shapes, its inputs that follow no rule."""
    tensors: dict[str, Tensor] = {}
    stages: dict[str, object] = {}
    for name, value in load_file(full / "cat_pca" / f"{case}_outputs.safetensors").items():
        if name in _BY_RULE:
            continue
        if value.dtype == torch.uint8:
            if case == IMAGES:
                tensors[name] = value
        else:
            step = step_for(value.numel(), VALUES)
            tensors[name] = value.flatten()[::step].clone()
            stages[name] = {"shape": list(value.shape), "step": step}
    record = json.loads((full / "cat_pca" / f"{case}_outputs.json").read_text())
    weights = json.loads((full / "cat_pca" / f"{case}_weights.json").read_text())
    fixed, listed = runpy.run_path(str(full / "rules.py"))["FIXED"], weights.pop("tensors").items()
    shapes = {name: shape for name, (shape, _) in listed if not name.endswith(fixed) and name[0] != "@"}
    if case == "pca_aggregator":
        tensors["similar_cells"] = similar_cells(full)
    elif "token_embedding_key" in weights:
        shapes[weights["token_embedding_key"]] = [49408, 64]
    planes = {name: list(value.shape) for name, value in tensors.items() if value.dtype == torch.uint8}
    record |= {"tensors": stages, "weights": shapes, "trainable": weights.get("trainable", []), "planes": planes}
    return tensors, record


def similar_cells(full: Path) -> Tensor:
    """Cells (B H W) of the aggregator's image features to which the rule adds twice the first word's embedding."""
    features = load_file(full / "cat_pca" / "aggregator_inputs.safetensors")["img_feats"].numpy()
    by_rule = runpy.run_path(str(full / "rules.py"))["input_rule"]("img", features.shape)
    return torch.from_numpy((np.abs(features - by_rule) > 0.1).any(axis=1)).to(torch.uint8)


def step_for(size: int, values: int) -> int:
    """A stride that leaves about `values` of `size` and walks through every axis: no factor in common with the size."""
    step = max(1, size // values)
    while math.gcd(step, size) > 1:
        step += 1
    return step


def main(full: Path) -> None:
    """Write `COMPACT` anew."""
    COMPACT.mkdir(exist_ok=True)
    for case in CASES:
        tensors, record = cut(full, case)
        for name in cast(dict[str, list[int]], record["planes"]):
            # the planes of an image, or several label maps, one below the other
            planes = Image.fromarray(tensors.pop(name).flatten(0, -2).numpy())
            planes.save(COMPACT / f"{case}.{name}.png", optimize=True)
        save_file(tensors, COMPACT / f"{case}.safetensors")
        (COMPACT / f"{case}.json").write_text(json.dumps(record, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The goldens of ERR-Seg in the full set: stored stages, and the names of its CLIPs."""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from tests.golden_sets import GoldenCase

FOLDER = "err_part_syn"


def err_case(folder: Path, name: str) -> GoldenCase:
    """All tensors of `name`.safetensors under their own names: inputs "in.", weights "w.", stages "mid." and "out."."""
    tensors = load_file(folder / FOLDER / f"{name}.safetensors")
    return GoldenCase(tensors, {"tensors": {stage: [list(value.shape)] for stage, value in tensors.items()}}, name)


@dataclass(frozen=True)
class ErrClip:
    """Official names of a CLIP of ERR-Seg: the shape of each weight, and those that are trained."""

    shapes: dict[str, list[int]]
    trained: list[str]


def err_clip(folder: Path, model: str) -> ErrClip:
    """The lists of open_clip's `model`, "convnext_base_w_320" or "convnext_large_d_320"."""
    keys, trained = (folder / FOLDER / f"err_clip_{model}_{part}.json" for part in ("keys", "trainable"))
    return ErrClip(json.loads(keys.read_text()), json.loads(trained.read_text()))

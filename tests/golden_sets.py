"""The two sets of goldens: the full one beside the repository, and its cut in tests/golden, which every clone has.

A test compares the same tensors of ours with the full one or, where that is missing, with the values that the cut has
kept. Weights of both follow from their names by the rule that the golden folder documents.
"""

import json
import math
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

COMPACT = Path(__file__).parent / "golden"
TOLERANCE = 1e-4
"""Largest error, in units of the largest magnitude of a stage."""

GRADIENT_TOLERANCE = 5e-4
"""Of each gradient's own largest magnitude. Rounding flips single ReLUs: the stored gradients of PCA-Seg's first
convolution and gate lie 1.9e-4 and 3.2e-4 from those in float64. Of the largest gradient that is far below 1e-4."""

FIDELITY = "SEGVOC_FIDELITY"
"""Names a file to which each comparison with the full set adds a line of JSON (`tests/golden/make_fidelity.py`)."""


@dataclass(frozen=True)
class GoldenCase:
    """Outputs of one case of the official code.

    tensors: a stage's values in the order of its axes, all of them or every `step`-th; pictures are whole.
    record: shapes and steps of the stages under "tensors"; scalars; in the compact set the weights' names and shapes.
    name: of the case, in the full set.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]
    name: str | None = None

    def error(self, stage: str, ours: Tensor) -> float:
        """The largest error of our whole stage, in units of the golden's largest magnitude."""
        golden, cut = self.tensors[stage], self.record["tensors"][stage]
        shape, step = (cut["shape"], cut["step"]) if isinstance(cut, dict) else (cut[0], 1)
        assert list(ours.shape) == shape, f"{stage}: {list(ours.shape)} is not the golden's {shape}"
        theirs = golden.flatten().float()
        error = ((ours.detach().flatten()[::step] - theirs).abs().max() / theirs.abs().max()).item()
        return self._noted(stage, "error", error)

    def check(self, stages: Mapping[str, Tensor], tolerance: float = TOLERANCE) -> None:
        """Compare our stages with the stored ones: all of them, before it says which differ."""
        errors = {stage: self.error(stage, ours) for stage, ours in stages.items()}
        assert all(error <= tolerance for error in errors.values()), errors

    def scalar_error(self, name: str, ours: float, entry: str | None = None) -> float:
        """The error of one number of the record, or of one entry of a record's table, in units of the golden."""
        golden = self.record[name] if entry is None else self.record[name][entry]
        return self._noted(name if entry is None else f"{name}.{entry}", "error", abs(ours - golden) / abs(golden))

    def norms_error(self, ours: dict[str, float]) -> float:
        """The largest error of all gradients' norms, each in its own units; those that are zero but for rounding (of
        keys' biases) need only be as small."""
        golden = self.record["grad_norm"]
        error = max(abs(ours[name] - norm) / (norm + 1e-7 / GRADIENT_TOLERANCE) for name, norm in golden.items())
        return self._noted(f"grad_norm ({len(golden)})", "error", error)

    def agreement(self, stage: str, ours: Tensor, theirs: Tensor) -> float:
        assert ours.shape == theirs.shape
        return self._noted(stage, "agreement", (ours == theirs).float().mean().item())

    def _noted(self, stage: str, kind: str, value: float) -> float:
        if self.name is not None and FIDELITY in os.environ:
            line = json.dumps({"case": self.name, "stage": stage, kind: value})
            with Path(os.environ[FIDELITY]).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        return value


def compact_case(case: str) -> GoldenCase:
    """A case of the compact set; it also has what both sets share: pictures, names and shapes of the weights."""
    record = json.loads((COMPACT / f"{case}.json").read_text())
    tensors = load_file(COMPACT / f"{case}.safetensors")
    for name, shape in record.get("planes", {}).items():
        with Image.open(COMPACT / f"{case}.{name}.png") as planes:
            tensors[name] = torch.from_numpy(np.array(planes)).reshape(shape)
    return GoldenCase(tensors, record)


def full_case(folder: Path, case: str) -> GoldenCase:
    """The same case of the full set, or one of the full-size networks, which are in that set alone."""
    path = folder / "cat_pca" / f"{case}_outputs.json"
    path = path if path.exists() else folder / "cat_pca" / f"{case}.json"
    return GoldenCase(load_file(path.with_suffix(".safetensors")), json.loads(path.read_text()), case)


ERR_FOLDER = "err_part_syn"
"""Of the full set: ERR-Seg, PartCATSeg and CLIPSeg's decoder."""


def err_case(folder: Path, name: str) -> GoldenCase:
    """All tensors of `name`.safetensors under their own names: inputs "in.", weights "w.", stages "mid." and "out."."""
    tensors = load_file(folder / ERR_FOLDER / f"{name}.safetensors")
    return GoldenCase(tensors, {"tensors": {stage: [list(value.shape)] for stage, value in tensors.items()}}, name)


def err_record(folder: Path, name: str) -> Any:
    return json.loads((folder / ERR_FOLDER / f"{name}.json").read_text())


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

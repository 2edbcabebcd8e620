"""The two sets of goldens: the full one beside the repository, and its cut in tests/golden, which every clone has.

A test compares the same tensors of ours with either: with all stored values, or with those that the cut has kept.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
        """The share of equal labels."""
        assert ours.shape == theirs.shape
        return self._noted(stage, "agreement", (ours == theirs).float().mean().item())

    def _noted(self, stage: str, kind: str, value: float) -> float:
        if self.name is not None and FIDELITY in os.environ:
            line = json.dumps({"case": self.name, "stage": stage, kind: value})
            with Path(os.environ[FIDELITY]).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        return value


def cases_of(request: pytest.FixtureRequest, name: Callable[[str], str]) -> Callable[[str], GoldenCase]:
    """From a family to its case of that name, of the compact or the full set, as a fixture's parameter asks."""
    if request.param == "compact":
        return cache(lambda family: compact_case(name(family)))
    folder = request.getfixturevalue("golden")
    return cache(lambda family: full_case(folder, name(family)))


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
    """What `name`.json holds."""
    return json.loads((folder / ERR_FOLDER / f"{name}.json").read_text())

"""The two sets of goldens: the full one beside the repository, and its cut in tests/golden, which every clone has.

A test compares the same tensors of ours with either: with all stored values, or with those that the cut has kept.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

COMPACT = Path(__file__).parent / "golden"
TOLERANCE = 1e-4
"""Largest error, in units of the largest magnitude of a stage."""


@dataclass(frozen=True)
class GoldenCase:
    """Outputs of one case of the official code.

    tensors: a stage's values in the order of its axes, all of them or every `step`-th; pictures are whole.
    record: shapes and steps of the stages under "tensors"; scalars; in the compact set the weights' names and shapes.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    def error(self, stage: str, ours: Tensor) -> float:
        """The largest error of our whole stage, in units of the golden's largest magnitude."""
        golden, cut = self.tensors[stage], self.record["tensors"][stage]
        shape, step = (cut["shape"], cut["step"]) if isinstance(cut, dict) else (cut[0], 1)
        assert list(ours.shape) == shape, f"{stage}: {list(ours.shape)} is not the golden's {shape}"
        theirs = golden.flatten().float()
        return ((ours.detach().flatten()[::step] - theirs).abs().max() / theirs.abs().max()).item()


def compact_case(case: str) -> GoldenCase:
    """A case of the compact set; it also has what both sets share: pictures, names and shapes of the weights."""
    record = json.loads((COMPACT / f"{case}.json").read_text())
    return GoldenCase(load_file(COMPACT / f"{case}.safetensors"), record)


def full_case(folder: Path, case: str) -> GoldenCase:
    """The same case of the full set."""
    record = json.loads((folder / "cat_pca" / f"{case}_outputs.json").read_text())
    return GoldenCase(load_file(folder / "cat_pca" / f"{case}_outputs.safetensors"), record)

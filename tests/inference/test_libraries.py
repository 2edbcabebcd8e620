"""What engines share gives the same with NumPy arrays and with PyTorch tensors, and works without PyTorch."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segvoc.inference.decision import Decision, StandIns
from segvoc.inference.engine import ModelTraits
from segvoc.inference.part_labels import PartsAgainst
from segvoc.inference.protocols import Protocol, Window
from tests.inference.numpy_engine import PROTOCOLS, NumpySegmenter

REPOSITORY = Path(__file__).parents[2]
WORDS = [f"word {number}" for number in range(40)]
IMAGE = np.asarray(np.random.default_rng(1).integers(0, 256, (7, 9, 3), np.uint8).repeat(16, 0).repeat(17, 1))


class TorchSegmenter(NumpySegmenter):
    def compare(self, features: Any, text: Any, protocol: Protocol) -> tuple[Any, Any]:
        logits, kept = super().compare(features, text, protocol)
        return torch.from_numpy(logits), None if kept is None else torch.from_numpy(kept)


@pytest.mark.parametrize(
    ("against", "keep"), [("object", None), ("contrast", 20), pytest.param("half", 20, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("window", PROTOCOLS)
def test_both_libraries_label_alike(window: Window, against: PartsAgainst, keep: int | None) -> None:
    stand_ins = StandIns(words=("sky", "sea"), similarity=0.6, threshold=0.3)
    traits = ModelTraits(decision=Decision(parts_against=against, stand_ins=stand_ins))
    asked: dict[str, Any] = {"window": window, "keep_classes": keep, "background": "none", "return_probabilities": True}
    asked["parts"] = {"word 3": ["head", "leg"], "*": ["edge"]}
    engines = NumpySegmenter(traits=traits), TorchSegmenter(traits=traits)
    ours, theirs = (engine.segment(IMAGE, WORDS, **asked) for engine in engines)
    for name in ("labels", "part_labels"):
        assert (getattr(ours, name) == getattr(theirs, name)).mean() > 0.999, name
        assert getattr(ours, name).dtype == np.uint16
    for name in ("confidence", "part_confidence", "probabilities"):
        assert np.quantile(np.abs(getattr(ours, name) - getattr(theirs, name)), 0.999) < 1e-5, name
        assert getattr(ours, name).dtype == np.float32
    assert np.array_equal(ours.selected, theirs.selected)
    assert len(np.unique(ours.labels)) > 3
    assert len(np.unique(ours.part_labels)) > 1


@pytest.mark.parametrize(
    "call",
    [
        "import segvoc; segvoc.train",
        "from segvoc.cli import main; sys.argv[1:] = ['convert', 'a', 'b', '--model', 'tiny']; main()",
    ],
)
def test_what_needs_torch_says_so_in_one_line(call: str) -> None:
    """`make core` proves what works without it."""
    code = f"import sys; sys.modules['torch'] = None; {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "main" in call else 1)
    said = done.stderr.splitlines()[-1]
    assert re.fullmatch(r'.*: this needs PyTorch, which isn\'t installed; .* pip install ".*\[torch\]"', said)
    assert "main" not in call or len(done.stderr.splitlines()) == 1

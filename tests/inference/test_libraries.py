"""What engines share gives the same with NumPy arrays and with PyTorch tensors, and works without PyTorch."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from segvoc.inference.background import BackgroundWords
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
    ("against", "keep"),
    [
        ("object", None),
        ("contrast", 20),
        *(pytest.param("half", keep, marks=pytest.mark.slow) for keep in (20, None)),
        pytest.param("object", 20, marks=pytest.mark.slow),
        pytest.param("contrast", None, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("window", PROTOCOLS)
def test_both_libraries_label_alike(window: Window, against: PartsAgainst, keep: int | None) -> None:
    results = []
    for engine in (NumpySegmenter, TorchSegmenter):
        stand_ins = BackgroundWords(words=("sky", "sea"))
        model = engine(traits=ModelTraits(parts_against=against, background_words=stand_ins))
        results.append(
            model.segment(
                IMAGE,
                WORDS,
                window=window,
                keep_classes=keep,
                parts={"word 3": ["head", "leg"], "*": ["edge"]},
                background="none",
                return_probabilities=True,
            )
        )
    ours, theirs = results
    for name in ("labels", "part_labels"):
        assert (getattr(ours, name) == getattr(theirs, name)).mean() > 0.999, name
        assert getattr(ours, name).dtype == np.uint16
    for name in ("confidence", "part_confidence", "probabilities"):
        assert np.quantile(np.abs(getattr(ours, name) - getattr(theirs, name)), 0.999) < 1e-5, name
        assert getattr(ours, name).dtype == np.float32
    assert np.array_equal(ours.selected, theirs.selected)
    assert len(np.unique(ours.labels)) > 3
    assert len(np.unique(ours.part_labels)) > 1


REFUSED = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {refused!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""

IMPORT = """
import importlib, pkgutil
for name in {modules!r}:
    module = importlib.import_module(name)
    for inner in pkgutil.walk_packages(getattr(module, "__path__", ()), name + "."):
        importlib.import_module(inner.name)
"""

LABEL = """
import numpy as np
from tests.inference.numpy_engine import PROTOCOLS, NumpySegmenter
result = NumpySegmenter().segment({photo!r}, ["cat", "sofa", "wall"], parts={{"cat": ["head"]}}, background="none")
result.save({out!r})
"""


def _contract() -> dict[str, Any]:
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if "without PyTorch" in contract["name"])
    return contract


def _without_torch(code: str) -> subprocess.CompletedProcess[str]:
    code = REFUSED.format(refused=_contract()["forbidden_modules"]) + code
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_base_imports_and_labels_without_torch(tmp_path: Path) -> None:
    photo = str(REPOSITORY / "samples" / "rocket.jpg")
    done = _without_torch(
        IMPORT.format(modules=_contract()["source_modules"]) + LABEL.format(photo=photo, out=str(tmp_path))
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"rocket.png", "rocket.parts.png", "rocket.json"}


@pytest.mark.parametrize(
    "call",
    [
        "import segvoc; segvoc.train",
        "import sys; from segvoc.cli import main; sys.argv[1:] = ['convert', 'a', 'b', '--model', 'tiny']; main()",
    ],
)
def test_what_needs_torch_says_so_in_one_line(call: str) -> None:
    done = _without_torch(call)
    assert done.returncode == (2 if "main" in call else 1)
    said = done.stderr.splitlines()[-1]
    assert re.fullmatch(r'.*: this needs PyTorch, which isn\'t installed; .* pip install "segvoc\[torch\]"', said)
    assert "main" not in call or len(done.stderr.splitlines()) == 1

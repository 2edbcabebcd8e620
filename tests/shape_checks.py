"""Which modules name the shapes of their arrays, and which tests check them."""

import re
from collections.abc import Iterator
from pathlib import Path

_TESTS = Path(__file__).resolve().parent

_SHAPES = re.compile(
    r"\bfrom (jaxtyping|segvoc\.(shapes|layers\.(class_selection|aggregation)|data\.training\.augmentations)) import\b"
)
"""Imports of the modules that define names of shapes."""


def modules_with_shapes() -> Iterator[str]:
    """Modules of the packages, and of the papers' scripts, that annotate arrays with their shapes."""
    root = _TESTS.parent
    for source in ("src", "annotate/src", "."):
        for path in (root / source).glob("papers/**/*.py" if source == "." else "segvoc*/**/*.py"):
            if _SHAPES.search(path.read_text(encoding="utf-8")):
                yield ".".join(path.relative_to(root / source).with_suffix("").parts).removesuffix(".__init__")


WHOLE_RUNS = (
    "benchmarks",
    "checkpoints",
    "cli",
    "evaluation/test_benchmarks.py",
    "evaluation/test_report.py",
    "evaluation/test_runner.py",
    "exporting",
    "hardening",
    "inference/exported",
    "inference/test_keep_classes.py",
    "inference/test_libraries.py",
    "inference/test_parts.py",
    "inference/test_protocol_goldens.py",
    "inference/test_segmentation.py",
    "inference/test_segmenter.py",
    "inference/test_tiled.py",
    "labeling/batch",
    "labeling/big_images",
    "labeling/test_labeling.py",
    "labeling/videos",
    "models",
    "networks",
    "papers",
    "serving",
    "test_examples.py",
    "training/test_loop.py",
    "training/test_callbacks.py",
    "training/test_processes.py",
    "training/test_steps.py",
    "training/test_start.py",
    *(f"../annotate/tests/{name}" for name in ("cli", "service", "test_cvat.py", "test_label_studio.py", "web")),
)
"""Tests of whole commands and runs, and of numbers: they call what other tests check, and checks take as long again."""


def is_whole_run(test: Path) -> bool:
    """Whether a file of tests is one of `WHOLE_RUNS`."""
    return any(test.is_relative_to((_TESTS / name).resolve()) for name in WHOLE_RUNS)

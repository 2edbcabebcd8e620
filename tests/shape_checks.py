"""Which modules name the shapes of their arrays, and which tests check them."""

import re
from collections.abc import Iterator
from pathlib import Path

_TESTS = Path(__file__).resolve().parent

_SHAPES = re.compile(
    r"\bfrom (jaxtyping|segvoc\.(shapes|layers\.(class_selection|aggregation)|data\.training\.augmentations)) import\b"
)


def modules_with_shapes() -> Iterator[str]:
    """Modules of the packages, and of the papers' scripts, that annotate arrays with their shapes."""
    root = _TESTS.parent
    for source in ("src", "annotate/src", "."):
        for path in (root / source).glob("papers/**/*.py" if source == "." else "segvoc*/**/*.py"):
            if _SHAPES.search(path.read_text(encoding="utf-8")):
                yield ".".join(path.relative_to(root / source).with_suffix("").parts).removesuffix(".__init__")


WHOLE_RUNS = (
    *"benchmarks checkpoints cli exporting hardening inference/exported labeling/batch labeling/big_images".split(),
    *"labeling/videos models networks papers serving test_examples.py labeling/test_run.py".split(),
    *(f"evaluation/test_{name}.py" for name in ("benchmarks", "report", "runner")),
    *(f"inference/test_{name}.py" for name in "keep_classes libraries parts segmentation segmenter tiled".split()),
    *(f"training/test_{name}.py" for name in "loop callbacks processes steps start".split()),
    *(f"../annotate/tests/{name}" for name in ("cli", "service", "test_cvat.py", "test_label_studio.py", "web")),
)
"""Tests of whole commands and runs, and of numbers: they call what other tests check, and checks take as long again."""


def is_whole_run(test: Path) -> bool:
    return any(test.is_relative_to((_TESTS / name).resolve()) for name in WHOLE_RUNS)

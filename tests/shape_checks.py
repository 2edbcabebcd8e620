"""Which modules name the shapes of their arrays."""

import re
from collections.abc import Iterator
from pathlib import Path

_SHAPES = re.compile(
    r"\bfrom (jaxtyping|segvoc\.(shapes|layers\.(class_selection|aggregation)|data\.training\.augmentations)) import\b"
)
"""Imports of the modules that define names of shapes."""


def modules_with_shapes() -> Iterator[str]:
    """Modules of the package that annotate arrays with their shapes."""
    source = Path(__file__).resolve().parents[1] / "src"
    for path in source.glob("segvoc/**/*.py"):
        if _SHAPES.search(path.read_text(encoding="utf-8")):
            yield ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")

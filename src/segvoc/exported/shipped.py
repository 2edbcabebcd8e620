"""The programs of `tiny` that ship with segvoc and run without PyTorch; `make tiny-programs` writes them."""

from pathlib import Path

from segvoc.exported.segmenter import ExportedSegmenter

SHIPPED = Path(__file__).parents[1] / "weights"
"""Folder of the weights that ship with the package, to which the programs refer."""

TINY_MANIFEST = "tiny_segvoc.json"
"""What describes the programs, in that folder."""


def open_tiny() -> ExportedSegmenter:
    """Open `tiny`, which gives the results of its PyTorch network in float32."""
    return ExportedSegmenter(SHIPPED, manifest=TINY_MANIFEST)

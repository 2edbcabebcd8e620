"""The programs that find objects by clicks, which ship with segvoc."""

from functools import cache

from segvoc.exported.manifest import ExportManifest
from segvoc.exported.onnx_program import OnnxProgram
from segvoc.exported.shipped import SHIPPED, TINY_MANIFEST
from segvoc.inference.protocols import Protocol

IMAGE = "clicks_image.onnx"
"""From pixels to what `tiny` sees in them, without the heads for words; its weights are those of `tiny`."""

PROGRAM = "clicks.onnx"
"""From what `tiny` sees in a view, clicks and the mask so far to the mask."""

CLICK_PROGRAM = OnnxProgram(SHIPPED / PROGRAM)
"""From features, clicks and the mask so far to the mask; loaded when it first runs, for all threads."""

VIEW_PROGRAM = OnnxProgram(SHIPPED / IMAGE)
"""From pixels to the features, which are those of `tiny`."""


@cache
def view_protocol() -> Protocol:
    """How images are given to `VIEW_PROGRAM`."""
    return ExportManifest.read(SHIPPED / TINY_MANIFEST).protocols["auto"]

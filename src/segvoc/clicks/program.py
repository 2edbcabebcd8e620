"""The programs that find objects by clicks, which ship with segvoc."""

from functools import cache

from segvoc.exported.click_files import IMAGE, PROGRAM
from segvoc.exported.manifest import ExportManifest
from segvoc.exported.onnx_program import OnnxProgram
from segvoc.exported.shipped import SHIPPED, TINY_MANIFEST
from segvoc.inference.protocols import Protocol


@cache
def click_program() -> OnnxProgram:
    """From features, clicks and the mask so far to the mask; loaded once."""
    return OnnxProgram(SHIPPED / PROGRAM)


@cache
def view_program() -> OnnxProgram:
    """From pixels to the features, which are those of `tiny`; loaded once."""
    return OnnxProgram(SHIPPED / IMAGE)


@cache
def view_protocol() -> Protocol:
    """How images are given to `view_program`."""
    return ExportManifest.read(SHIPPED / TINY_MANIFEST).protocols["auto"]

"""The program from clicks to a mask that ships with segvoc."""

from functools import cache

from segvoc.exported.onnx_program import OnnxProgram
from segvoc.exported.shipped import SHIPPED

PROGRAM = SHIPPED / "clicks.onnx"
"""From what `tiny` sees in a view, clicks and the mask so far to the mask."""

RECORD = SHIPPED / "clicks.json"
"""Where it comes from."""


@cache
def click_program() -> OnnxProgram:
    """The program, loaded once."""
    return OnnxProgram(PROGRAM)

"""The programs that find objects by clicks, which ship with segvoc."""

from functools import cache

from segvoc.exported.click_files import PROGRAM
from segvoc.exported.onnx_program import OnnxProgram
from segvoc.exported.segmenter import ExportedSegmenter
from segvoc.exported.shipped import SHIPPED, open_tiny


@cache
def click_program() -> OnnxProgram:
    """The program, loaded once."""
    return OnnxProgram(SHIPPED / PROGRAM)


@cache
def click_features() -> ExportedSegmenter:
    """`tiny`, whose features the program reads, loaded once."""
    return open_tiny()

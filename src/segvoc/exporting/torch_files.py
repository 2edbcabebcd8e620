"""Programs as archives of `torch.export`, and as machine code."""

import warnings
from pathlib import Path

import torch
from torch.export import ExportedProgram

from segvoc.errors import NotCompiledWarning, one_line
from segvoc.exported.torch_program import COMPILED
from segvoc.exporting.programs import Program, quiet


def write_torch(program: Program, path: Path, *, compiled: bool) -> None:
    """Write a program as an archive that contains its weights.

    Args:
        program: the program.
        path: the archive, *.pt2.
        compiled: write machine code for this processor, too, beside the archive, if the program compiles.

    Warns:
        NotCompiledWarning: the compiler fails here.
    """
    failure = None
    with quiet():
        traced = program.traced()
        _keep_operators_only(traced)
        if compiled and program.compiles:
            from torch._inductor import aoti_compile_and_package  # here, since this takes seconds to import

            try:
                aoti_compile_and_package(traced, package_path=str(path.with_suffix(COMPILED)))
            except Exception as error:
                failure = one_line(error)
        traced.example_inputs = None  # features of a large image, which would be stored as well
        torch.export.save(traced, path)
    if failure is not None:
        message = f"{path.name} can't be compiled here and runs as an archive ({failure})"
        warnings.warn(message, NotCompiledWarning, stacklevel=2)


def finds_compiler() -> bool:
    """Whether this machine has the C++ compiler that machine code takes."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception:
        return False
    return True


def _keep_operators_only(traced: ExportedProgram) -> None:
    """Delete what computes nothing: stack traces, which name folders, and the tracer's assertions.

    It asserts what it found to be so for the example, such as that a map isn't a multiple of the windows, where that
    made it copy cells that it otherwise wouldn't have to. The operators are those of any size, as in ONNX programs.
    """
    graph = traced.graph_module.graph
    for node in list(graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            graph.erase_node(node)
            continue
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn"):
            node.meta.pop(key, None)
    graph.eliminate_dead_code()
    traced.graph_module.recompile()

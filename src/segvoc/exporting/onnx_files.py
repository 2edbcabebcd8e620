"""Programs as ONNX files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import opset18
from onnxscript.optimizer import fold_constants, inline

from segvoc.exporting.programs import Program, quiet
from segvoc.exporting.shared_weights import SMALLEST, refer_to

OPSET = 18
"""Version of ONNX's operators. Readers of newer versions read it too. By the next version, whose `AveragePool` has
dilations, ONNX Runtime takes ten times as long for it."""

_EINSUM = torch.ops.aten.einsum.default
"""Written as products of matrices, which ONNX Runtime computes several times faster."""


def write_onnx(program: Program, path: Path, weights: Sequence[Path]) -> None:
    """Write a program as an ONNX file.

    Inputs and outputs have the names that the program gives them, and the sizes of free axes have names too.

    Args:
        program: the program.
        path: the file.
        weights: .safetensors files in the same folder, to which it refers for its weights.
    """
    with quiet():
        exported = torch.onnx.export(
            program.traced().run_decompositions({_EINSUM: torch.export.default_decompositions()[_EINSUM]}),
            dynamo=True,
            optimize=False,
            verbose=False,
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
        )
        assert exported is not None  # it is None for the other, older exporter
        model = exported.model
        _simplify(model)
    for value in model.graph.inputs:
        value.name = str(value.name).removeprefix("inputs_")
    for value, name in zip(model.graph.outputs, program.outputs(), strict=True):
        value.name = name
    refer_to(model, weights)
    _keep_operators_only(model)
    ir.save(model, path)


def _simplify(model: ir.Model) -> None:
    """Fold small constants, and drop what is unused or there twice; ONNX Runtime fuses operators at loading.

    What is computed from weights alone is left to it, too: results would be as large as the weights. Rules that rewrite
    patterns of operators aren't applied: those for batch norms leave convolutions with weights in another precision.
    """
    inline(model)
    fold_constants(model, onnx_shape_inference=True, input_size_limit=SMALLEST)
    ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.LiftSubgraphInitializersToMainGraphPass(),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)


def _stable_sort(x: Any, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """ONNX's TopK gives equal values in the order of their indices, which is all that a stable sort asks for."""
    op: Any = opset18  # its types are for scripts that are compiled; this one is traced
    size = op.Reshape(op.Gather(op.Shape(x), op.Constant(value_ints=[dim])), op.Constant(value_ints=[1]))
    return op.TopK(x, size, axis=dim, largest=int(descending), sorted=1)


def _keep_operators_only(model: ir.Model) -> None:
    """Delete what readers don't need, and most of a file would be: stack traces, and shapes that they infer again."""
    results = set(model.graph.outputs)
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            if value not in results:
                value.shape = value.type = None
    for function in model.functions.values():
        function.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.metadata_props.clear()

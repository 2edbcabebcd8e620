"""Programs as ONNX files, which refer to weights in .safetensors files (ONNX external data).

So all programs of a model share a single weights file, with the network's names, and `tiny`'s weights ship once for
both engines. Quantized weights are dequantized by operators that ONNX Runtime evaluates at load; embedding tables by
row at lookup, in each call.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import opset18
from onnxscript.optimizer import fold_constants, inline

from segvoc.checkpoints.files import SCALE
from segvoc.exporting.programs import Program

OPSET = 18
"""ONNX opset. Newer runtimes also read it. With the next opset, whose `AveragePool` has dilations, ONNX Runtime is ten
times slower at it."""

SMALLEST = 256
"""Smaller weights are embedded in the program [values]."""

_DTYPES = {"F32": ir.DataType.FLOAT, "F16": ir.DataType.FLOAT16, "I8": ir.DataType.INT8}


def write_onnx(program: Program, path: Path, weights: Sequence[Path]) -> None:
    """Write a program as an ONNX file that refers to weights in .safetensors files of the same folder."""
    with _quiet():
        exported = torch.onnx.export(
            program.traced(),
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints its steps to standard output and warns about its internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _simplify(model: ir.Model) -> None:
    """Fold small constants, and drop unused and duplicate nodes; ONNX Runtime fuses operators at load.

    Constants computed from weights are also left to it: they would be as large as the weights. Pattern rewrite rules
    aren't applied: those for batch norms leave convolutions with weights in another precision.
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
    """Stable sort by ONNX's TopK, which returns equal values in the order of their indices."""
    op: Any = opset18  # its types are for scripts that are compiled; this one is traced
    size = op.Reshape(op.Gather(op.Shape(x), op.Constant(value_ints=[dim])), op.Constant(value_ints=[1]))
    return op.TopK(x, size, axis=dim, largest=int(descending), sorted=1)


def _keep_operators_only(model: ir.Model) -> None:
    """Delete metadata that would be most of a file: stack traces, and shapes that runtimes infer again."""
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


# ---- weights


_Stored = dict[str, ir.ExternalTensor]
"""Tensors in files, by their names in the network."""


def refer_to(model: ir.Model, files: Sequence[Path]) -> None:
    """Replace a program's weights, in place, by references to equal or transposed tensors in files of its folder."""
    stored = {name: tensor for path in files for name, tensor in _tensors_of(path)}
    places = {key: place for name in stored for key, place in _places(stored, name)}
    for value in list(model.graph.initializers.values()):
        content = value.const_value
        if content is None or content.size < SMALLEST:
            continue
        array = content.numpy()
        place = places.get((array.dtype.char, array.shape, array.tobytes()))
        if place is not None:
            _replace(model, value, stored, *place)


def _tensors_of(path: Path) -> Iterator[tuple[str, ir.ExternalTensor]]:
    """The tensors of a .safetensors file, by name: a length, a JSON header, and their bytes one after another."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in _DTYPES:
            (start, end), shape, dtype = entry["data_offsets"], ir.Shape(entry["shape"]), _DTYPES[entry["dtype"]]
            at, size, label = 8 + length + start, end - start, f"stored.{name}"
            yield name, ir.ExternalTensor(path.name, at, size, dtype, shape=shape, name=label, base_dir=path.parent)


_Key = tuple[str, tuple[int, ...], bytes]
"""Type, shape and bytes of a weight."""


def _places(stored: _Stored, name: str) -> Iterator[tuple[_Key, tuple[str, bool]]]:
    """The weights that a stored tensor is: as stored, in float32, transposed; its name, and whether transposed."""
    if name.endswith(SCALE):
        return
    array = stored[name].numpy()
    if name + SCALE in stored:
        array = array.astype(np.float32) * stored[name + SCALE].numpy().reshape(-1, *[1] * (array.ndim - 1))
    for weight in {array.dtype: array, np.dtype(np.float32): array.astype(np.float32)}.values():
        yield (weight.dtype.char, weight.shape, weight.tobytes()), (name, False)
        if weight.ndim == 2:
            yield (weight.dtype.char, weight.T.shape, weight.T.tobytes()), (name, True)


def _replace(model: ir.Model, value: ir.Value, stored: _Stored, name: str, transposed: bool) -> None:
    """Compute a weight from a stored tensor; of lookup tables, each call computes only the rows that it looks up."""
    readers = [use.node for use in value.uses()]
    is_table = not transposed and len(stored[name].shape) == 2
    if is_table and readers and all(_looks_up(node, value) for node in readers):
        for node in readers:
            rows, nodes = _computed(model, stored, name, value.dtype, rows=cast(ir.Value, node.inputs[1]))
            node.outputs[0].replace_all_uses_with(rows, replace_graph_outputs=True)
            model.graph.insert_before(node, nodes)
            model.graph.remove(node, safe=True)
    else:
        whole, nodes = _computed(model, stored, name, value.dtype, transposed=transposed)
        value.replace_all_uses_with(whole)
        if nodes:
            model.graph.insert_before(model.graph[0], nodes)
    del model.graph.initializers[str(value.name)]


def _looks_up(node: ir.Node, value: ir.Value) -> bool:
    """Whether an operator looks up rows of a weight by index."""
    takes_rows = node.op_type == "Gather" and node.attributes.get_int("axis", 0) == 0
    return takes_rows and node.inputs[0] is value and node.inputs[1] is not value


def _computed(
    model: ir.Model,
    stored: _Stored,
    name: str,
    dtype: ir.DataType | None,
    *,
    rows: ir.Value | None = None,
    transposed: bool = False,
) -> tuple[ir.Value, list[ir.Node]]:
    """A weight of a dtype (None: as stored), or some of its rows by index, and the operators that compute it."""
    nodes: list[ir.Node] = []

    def apply(operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        nodes.append(ir.node(operator, list(inputs), attributes or None))  # pyright: ignore[reportArgumentType]
        return nodes[-1].outputs[0]

    value, rank = _initializer(model, stored[name]), len(stored[name].shape)
    scale = _initializer(model, stored[name + SCALE]) if name + SCALE in stored else None
    if rows is not None:
        value = apply("Gather", value, rows)
        if scale is not None:
            scale = apply("Unsqueeze", apply("Gather", scale, rows), _constant(model, "last", [-1]))
    elif scale is not None:
        scale = apply("Reshape", scale, _constant(model, "rows", [-1, *[1] * (rank - 1)]))
    if dtype is not None and dtype != stored[name].dtype:
        value = apply("Cast", value, to=int(dtype))
    if scale is not None:
        value = apply("Mul", value, scale)
    return apply("Transpose", value, perm=[1, 0]) if transposed else value, nodes


def _constant(model: ir.Model, name: str, numbers: list[int]) -> ir.Value:
    return _initializer(model, ir.tensor(np.array(numbers, np.int64), name=f"{name}.{len(numbers)}"))


def _initializer(model: ir.Model, tensor: ir.TensorProtocol) -> ir.Value:
    """The initializer of a tensor, which is added if it is new."""
    shape, kind = ir.Shape(tensor.shape.numpy()), ir.TensorType(tensor.dtype)
    value = ir.Value(name=tensor.name, shape=shape, type=kind, const_value=tensor)
    return model.graph.initializers.setdefault(str(tensor.name), value)

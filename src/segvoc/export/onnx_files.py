"""Programs as ONNX files, which refer to weights in .safetensors files (ONNX external data).

So all programs of a model share a single weights file, with the network's names, and `tiny`'s weights ship once for
both engines. Quantized weights are dequantized by operators that ONNX Runtime evaluates at load; embedding tables by
row at lookup, in each call.
"""

import json
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
from segvoc.export.programs import Program, quiet

OPSET = 18
"""ONNX opset. Newer runtimes also read it. With the next opset, whose `AveragePool` has dilations, ONNX Runtime is ten
times slower at it."""

SMALLEST = 256
"""Smaller weights are embedded in the program [values]."""

_DTYPES = {"F32": ir.DataType.FLOAT, "F16": ir.DataType.FLOAT16, "I8": ir.DataType.INT8}


def write_onnx(program: Program, path: Path, weights: Sequence[Path]) -> None:
    """Write a program as an ONNX file that refers to weights in .safetensors files of the same folder.

    Inputs, outputs and the sizes of dynamic axes are named.
    """
    with quiet():
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
    """Replace the weights of a program by references to equal or transposed tensors in .safetensors files.

    The program is modified in place. Save it in the folder of the files.
    """
    stored = {name: one for path in files for name, one in _tensors_of(path)}
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
    for one in {array.dtype: array, np.dtype(np.float32): array.astype(np.float32)}.values():
        yield (one.dtype.char, one.shape, one.tobytes()), (name, False)
        if one.ndim == 2:
            yield (one.dtype.char, one.T.shape, one.T.tobytes()), (name, True)


def _replace(model: ir.Model, value: ir.Value, stored: _Stored, name: str, transposed: bool) -> None:
    """Compute a weight from a stored tensor.

    For lookup tables, such as token embeddings, each call computes only the rows that it looks up.
    """
    readers = [use.node for use in value.uses()]
    is_table = not transposed and len(stored[name].shape) == 2
    if is_table and readers and all(_looks_up(node, value) for node in readers):
        for node in readers:
            rows, nodes = _Expanded(model, stored, name, value.dtype).rows(cast(ir.Value, node.inputs[1]))
            node.outputs[0].replace_all_uses_with(rows, replace_graph_outputs=True)
            model.graph.insert_before(node, nodes)
            model.graph.remove(node, safe=True)
    else:
        whole, nodes = _Expanded(model, stored, name, value.dtype).whole(transposed)
        value.replace_all_uses_with(whole)
        if nodes:
            model.graph.insert_before(model.graph[0], nodes)
    del model.graph.initializers[str(value.name)]


def _looks_up(node: ir.Node, value: ir.Value) -> bool:
    """Whether an operator looks up rows of a weight by index."""
    takes_rows = node.op_type == "Gather" and node.attributes.get_int("axis", 0) == 0
    return takes_rows and node.inputs[0] is value and node.inputs[1] is not value


class _Expanded:
    """Operators that compute a weight of a dtype (None: as stored) from a stored tensor, once: all of it, or some rows.

    The required initializers are added to the program.
    """

    def __init__(self, model: ir.Model, stored: _Stored, name: str, dtype: ir.DataType | None) -> None:
        self._model, self._nodes = model, list[ir.Node]()
        self._rank = len(stored[name].shape)
        self._dtype = None if dtype == stored[name].dtype else dtype
        self._tensor = self._initializer(stored[name])
        self._scale = self._initializer(stored[name + SCALE]) if name + SCALE in stored else None

    def whole(self, transposed: bool) -> tuple[ir.Value, list[ir.Node]]:
        """The whole weight."""
        shape = [-1, *[1] * (self._rank - 1)]
        scale = None if self._scale is None else self._apply("Reshape", self._scale, self._constant("rows", shape))
        result = self._scaled(self._tensor, scale)
        return self._apply("Transpose", result, perm=[1, 0]) if transposed else result, self._nodes

    def rows(self, numbers: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
        """Rows of a matrix, by index."""
        scale = self._scale
        if scale is not None:
            scale = self._apply("Unsqueeze", self._apply("Gather", scale, numbers), self._constant("last", [-1]))
        return self._scaled(self._apply("Gather", self._tensor, numbers), scale), self._nodes

    def _scaled(self, stored: ir.Value, scale: ir.Value | None) -> ir.Value:
        result = stored if self._dtype is None else self._apply("Cast", stored, to=int(self._dtype))
        return result if scale is None else self._apply("Mul", result, scale)

    def _apply(self, operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes or None)  # pyright: ignore[reportArgumentType]
        self._nodes.append(node)
        return node.outputs[0]

    def _constant(self, name: str, numbers: list[int]) -> ir.Value:
        return self._initializer(ir.tensor(np.array(numbers, np.int64), name=f"{name}.{len(numbers)}"))

    def _initializer(self, tensor: ir.TensorProtocol) -> ir.Value:
        known = self._model.graph.initializers.get(str(tensor.name))
        if known is not None:
            return known
        made = ir.Value(
            name=tensor.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._model.graph.initializers[str(tensor.name)] = made
        return made

"""Programs whose weights lie in .safetensors files: an ONNX file may refer to any range of bytes beside it.

So all programs of a model share one file of weights, with the names that they have in the network, and `tiny` ships
once for both engines. What is stored in fewer bits than it is computed in is expanded by operators that ONNX Runtime
evaluates when it loads a program.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from segvoc.checkpoints.int8_rows import SCALE

SMALLEST = 256
"""Weights with fewer values are written into the program itself."""

_DTYPES = {"F32": ir.DataType.FLOAT, "F16": ir.DataType.FLOAT16, "I8": ir.DataType.INT8}


@dataclass(frozen=True)
class _Stored:
    """A tensor in a file."""

    path: Path
    offset: int
    length: int
    dtype: ir.DataType
    shape: tuple[int, ...]

    def tensor(self, name: str) -> ir.ExternalTensor:
        """A reference to it."""
        return ir.ExternalTensor(
            self.path.name, self.offset, self.length, self.dtype, shape=ir.Shape(self.shape), name=name,
            base_dir=self.path.parent,
        )  # fmt: skip


def refer_to(model: ir.Model, files: Sequence[Path]) -> None:
    """Replace the weights of a program by references to equal ones in .safetensors files, also to transposed ones.

    Args:
        model: the program, changed in place. It has to be saved in the folder of the files.
        files: the files.
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


def _tensors_of(path: Path) -> Iterator[tuple[str, _Stored]]:
    """The tensors of a .safetensors file, by name: a length, a JSON header, and their bytes one after another."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in _DTYPES:
            start, end = entry["data_offsets"]
            yield name, _Stored(path, 8 + length + start, end - start, _DTYPES[entry["dtype"]], tuple(entry["shape"]))


_Key = tuple[str, tuple[int, ...], bytes]
"""Type, shape and bytes of a weight."""


def _places(stored: dict[str, _Stored], name: str) -> Iterator[tuple[_Key, tuple[str, tuple[int, ...] | None]]]:
    """The weights that a stored tensor can stand for: as it is, in float32, and transposed if it is a matrix.

    Yields:
        The weight, and where it is: the name of the tensor and the order of its axes (None: as stored).
    """
    if name.endswith(SCALE):
        return
    array = stored[name].tensor(name).numpy()
    if name + SCALE in stored:
        scale = stored[name + SCALE].tensor(name).numpy()
        array = array.astype(np.float32) * scale.reshape(-1, *[1] * (array.ndim - 1))
    for one in {array.dtype: array, np.dtype(np.float32): array.astype(np.float32)}.values():
        yield (one.dtype.char, one.shape, one.tobytes()), (name, None)
        if one.ndim == 2:
            yield (one.dtype.char, one.T.shape, one.T.tobytes()), (name, (1, 0))


def _replace(
    model: ir.Model, value: ir.Value, stored: dict[str, _Stored], name: str, axes: tuple[int, ...] | None
) -> None:
    """Compute a weight from a stored tensor; `axes` is the order of its axes, None: as stored."""
    nodes: list[ir.Node] = []

    def apply(operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        node = ir.node(operator, list(inputs), attributes or None)  # pyright: ignore[reportArgumentType]
        nodes.append(node)
        return node.outputs[0]

    def initializer(tensor: ir.TensorProtocol) -> ir.Value:
        known = model.graph.initializers.get(str(tensor.name))
        if known is not None:
            return known
        made = ir.Value(
            name=tensor.name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        model.graph.initializers[str(tensor.name)] = made
        return made

    of_file = f"stored.{name}"
    result = initializer(stored[name].tensor(of_file))
    if value.dtype is not None and stored[name].dtype != value.dtype:
        result = apply("Cast", result, to=int(value.dtype))
    if name + SCALE in stored:
        rank = len(stored[name].shape)
        shape = ir.tensor(np.array([-1, *[1] * (rank - 1)], np.int64), name=f"rows.{rank}")
        scale = initializer(stored[name + SCALE].tensor(of_file + SCALE))
        result = apply("Mul", result, apply("Reshape", scale, initializer(shape)))
    if axes is not None:
        result = apply("Transpose", result, perm=list(axes))
    value.replace_all_uses_with(result)
    del model.graph.initializers[str(value.name)]
    if nodes:
        model.graph.insert_before(model.graph[0], nodes)

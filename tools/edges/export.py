"""Write the shipped ONNX program of the edge refiner, and a record of its origin.

python -m tools.edges.export --network build/edges/network.pt
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from segvoc.inference.edges import EDGES
from tools.edges.maps import COUNTS, HELD_OUT, TAUGHT
from tools.edges.network import CHANNELS, FEATURES, STEPS, EdgeNetwork, Residual
from tools.shipped_networks import parsed, photographs, write_record

LAST = np.iinfo(np.int64).max
"""The end of an axis."""


class Graph:
    """Builds the ONNX graph operator by operator; tracing hundreds of slices with dynamic sizes takes minutes."""

    def __init__(self) -> None:
        """Create an empty graph."""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def apply(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add an operator; returns the names of its outputs."""
        names = [f"{operator.lower()}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(onnx.helper.make_node(operator, inputs, names, **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with a single output."""
        return self.apply(operator, *inputs, **attributes)[0]

    def constant(self, values: np.ndarray) -> str:
        """The name of a constant; equal constants are stored once."""
        name = (
            f"constant_{hashlib.sha256(f'{values.dtype}{values.shape}'.encode() + values.tobytes()).hexdigest()[:16]}"
        )
        self.constants[name] = onnx.numpy_helper.from_array(values, name)
        return name

    def integers(self, *values: int) -> str:
        """A constant list of integers."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A constant number."""
        return self.constant(np.array(value, np.float32))

    def convolved(self, x: str, layer: nn.Module, *, of: slice = slice(None), weight: Tensor | None = None) -> str:
        """Apply a convolution, or some of its output channels, optionally with another weight."""
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        values = [(layer.weight if weight is None else weight)[of], layer.bias[of]]
        inputs = [self.constant(np.ascontiguousarray(value.detach().numpy())) for value in values]
        return self.one(
            "Conv",
            x,
            *inputs,
            kernel_shape=layer.kernel_size,
            strides=layer.stride,
            pads=[*cast(tuple[int, int], layer.padding)] * 2,
            dilations=layer.dilation,
            group=layer.groups,
        )

    def neighbors(self, x: str, distance: int) -> list[str]:
        """See `tools.edges.network.neighbors`."""
        padded = self.one("Pad", x, self.integers(*(0, 0, distance, distance) * 2), mode="edge")
        ranges = [(0, -2 * distance), (distance, -distance), (2 * distance, LAST)]
        return [
            self.one("Slice", padded, self.integers(top, left), self.integers(bottom, right), self.integers(2, 3))
            for top, bottom in ranges
            for left, right in ranges
        ]

    def mean(self, around: Sequence[str], logits: str) -> str:
        """The softmax-weighted mean of nine maps."""
        return self.one(
            "Sum", *(self.one("Mul", x, weight) for x, weight in zip(around, self.weights(logits), strict=True))
        )

    def weights(self, logits: str) -> list[str]:
        """The softmax over nine channels; ONNX Runtime's own takes eight times as long along this axis."""
        nine = self.apply("Split", logits, axis=1, num_outputs=9, outputs=9)
        powers = [self.one("Exp", self.one("Sub", logits, self.one("Max", *nine)))]
        total = self.one("Sum", *self.apply("Split", powers[0], axis=1, num_outputs=9, outputs=9))
        return self.apply("Split", self.one("Div", powers[0], total), axis=1, num_outputs=9, outputs=9)


def build(network: EdgeNetwork) -> onnx.ModelProto:
    """The program of a network; see `EdgeNetwork.forward`."""
    graph, relu = Graph(), "Relu"
    colors = graph.one("Sub", graph.one("Div", "pixels", graph.number(127.5)), graph.number(1))
    fine = graph.one(relu, graph.convolved(colors, network.fine))
    x = graph.convolved(fine, network.coarse)
    for number, name in enumerate(FEATURES):
        layer = cast(nn.Conv2d, network.features[name])
        reduced = graph.convolved(name, layer, weight=layer.weight / network.scale[number])
        if number:
            scales = graph.constant(np.array([1, 1, 2**number, 2**number], np.float32))
            reduced = graph.one("Resize", reduced, "", scales, mode="linear")
        x = graph.one("Add", x, reduced)
    x = graph.one(relu, x)
    for block in cast(Sequence[Residual], network.blocks):
        inner = graph.one(relu, graph.convolved(x, block.expand))
        inner = graph.one(relu, graph.convolved(inner, block.depthwise))
        x = graph.one("Add", x, graph.convolved(inner, block.project))
    x = graph.one(relu, x)
    query, key, maps = graph.convolved(x, network.query), graph.convolved(x, network.key), "maps"
    for number, distance in enumerate(STEPS):
        sums = [
            graph.one("ReduceSum", graph.one("Mul", query, one), graph.integers(1), keepdims=1)
            for one in graph.neighbors(key, distance)
        ]
        alike = graph.one("Mul", graph.one("Concat", *sums, axis=1), graph.number(network.sharpness[number].item()))
        bias = graph.convolved(x, network.bias, of=slice(9 * number, 9 * number + 9))
        maps = graph.mean(graph.neighbors(maps, distance), graph.one("Add", alike, bias))
    first, _, last = cast(Sequence[nn.Conv2d], network.upsampling)
    # ONNX puts the cells of a quarter together, PyTorch those of a channel
    of_fine = first.weight[:, CHANNELS:].unflatten(1, (-1, 4)).transpose(1, 2).flatten(1, 2)
    both = graph.one("Concat", x, graph.one("SpaceToDepth", fine, blocksize=2), axis=1)
    both = graph.one(relu, graph.convolved(both, first, weight=torch.cat([first.weight[:, :CHANNELS], of_fine], dim=1)))
    around = graph.neighbors(maps, 1)
    quarters = [graph.mean(around, graph.convolved(both, last, of=slice(9 * n, 9 * n + 9))) for n in range(4)]
    joined = graph.one("Concat", *quarters, axis=1)
    graph.nodes.append(onnx.helper.make_node("DepthToSpace", [joined], ["refined"], blocksize=2))

    def value(name: str, channels: str | int, cells: str) -> onnx.ValueInfoProto:
        sizes = ["views", channels, f"{cells}rows", f"{cells}columns"]
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)

    inputs = [value("maps", "words", "4_"), value("pixels", 3, "16_")]
    inputs += [value(name, FEATURES[name], cells) for name, cells in zip(FEATURES, ("4_", "2_", ""), strict=True)]
    made = onnx.helper.make_graph(graph.nodes, "edges", inputs, [value("refined", "words", "8_")])
    made.initializer.extend(graph.constants.values())
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Parse the command line and run."""
    network = EdgeNetwork()
    out, date = parsed(__doc__, network, Path("build/edges"), EDGES)
    content = build(network).SerializeToString(deterministic=True)
    out.write_bytes(content)
    facades = {"facade-demo/train": "30 photographs of a-hwang/building-facade-segmentation; CC BY 4.0"}
    licenses, data_set = {**photographs(), **facades}, {name: name.partition(":")[0] for name in COUNTS | TAUGHT}
    counts = {name: count for name, count in (COUNTS | TAUGHT).items() if data_set[name] not in HELD_OUT}
    seen = {name: f"{count} of {licenses[data_set[name]]}" for name, count in counts.items()}
    write_record("edges", date, {EDGES: content}, {"photographs": seen})


if __name__ == "__main__":
    main()

"""Write the shipped ONNX program of the edge refiner, and a record of its origin.

python -m tools.edges.export --network build/edges/network.pt; tracing takes two minutes.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from segvoc.exporting.onnx_files import write_onnx
from segvoc.exporting.programs import Program
from segvoc.inference.edges import EDGES
from tools.edges.maps import COUNTS, HELD_OUT, TAUGHT
from tools.edges.network import FEATURES, EdgeNetwork
from tools.shipped_networks import OF_TINY, parsed, photographs, write_record


class EdgeProgram(nn.Module):
    """The network on named inputs; gives "refined"."""

    def __init__(self, network: EdgeNetwork) -> None:
        """Wrap."""
        super().__init__()
        self.network = network

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Apply."""
        return {"refined": self.network(**inputs)}


def program_of(network: EdgeNetwork) -> Program:
    """What is exported."""
    # sizes that differ, so that none is taken for another
    views, words, rows, columns = 2, 5, 28, 24
    shapes = {"maps": (words, 4), "pixels": (3, 16)}
    shapes |= {name: (FEATURES[name], cells) for name, cells in zip(FEATURES, (4, 2, 1), strict=True)}
    inputs = {name: torch.rand(views, count, rows * cells, columns * cells) for name, (count, cells) in shapes.items()}
    view, row, column = Dim("views"), Dim("rows", min=4, max=256), Dim("columns", min=4, max=256)
    free = {name: {0: view, 2: cells * row, 3: cells * column} for name, (_, cells) in shapes.items()}
    free["maps"][1] = Dim("words")
    return Program(module=EdgeProgram(network).eval(), inputs=inputs, free=free)


def main() -> None:
    """Parse the command line and run."""
    network = EdgeNetwork()
    out, date = parsed(__doc__, network, Path("build/edges"), EDGES)
    write_onnx(program_of(network), out, ())
    facades = {"facade-demo/train": "30 photographs of a-hwang/building-facade-segmentation; CC BY 4.0"}
    licenses, data_set = {**photographs(), **facades}, {name: name.partition(":")[0] for name in COUNTS | TAUGHT}
    counts = {name: count for name, count in (COUNTS | TAUGHT).items() if data_set[name] not in HELD_OUT}
    seen = {name: f"{count} of {licenses[data_set[name]]}" for name, count in counts.items()}
    write_record("edges", date, [out], OF_TINY | {"photographs": seen})


if __name__ == "__main__":
    main()

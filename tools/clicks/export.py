"""Write the programs of clicks that ship with segvoc, with a record of where the network comes from.

python -m tools.clicks.export --network build/clicks/network.pt
"""

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from segvoc.exporting.onnx_files import write_onnx
from segvoc.exporting.programs import Program
from segvoc.inference.clicks import PROGRAM
from segvoc.inference.edges import IMAGE_PROGRAM
from segvoc.inference.exported.manifest import ExportManifest
from segvoc.inference.exported.segmenter import TINY_MANIFEST
from segvoc.storage.files import SHIPPED
from tools.clicks.network import ClickNetwork
from tools.clicks.views import FEATURES, SIZE
from tools.shipped_networks import OF_TINY, parsed, photographs, write_record
from tools.tiny.photos import DATA_SETS


class ClickProgram(nn.Module):
    """The network on one view; gives "logits" at every second pixel (h w)."""

    def __init__(self, network: ClickNetwork) -> None:
        """Wrap."""
        super().__init__()
        self.network = network

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Apply."""
        features, colors = [inputs[name] for name in FEATURES], F.avg_pool2d(inputs["pixels"], 2)
        return {"logits": self.network(*features, colors, inputs["clicks"][None], inputs["mask"][None, None])[0, 0]}


def program_of(network: ClickNetwork) -> Program:
    """What is exported."""
    cells = SIZE // 16
    # two sizes that differ, so that none is taken for another
    rows, columns = cells, cells - 4
    cells_of = {name: (count, 16 // stride) for name, (count, stride) in FEATURES.items()} | {"pixels": (3, 16)}
    inputs = {
        **{name: torch.rand(1, count, size * rows, size * columns) for name, (count, size) in cells_of.items()},
        "clicks": torch.tensor([[0.5, 0.5, 1.0], [0.2, 0.3, -1.0], [0.7, 0.3, -1.0]]),
        "mask": torch.rand(8 * rows, 8 * columns),
    }
    row, column = Dim("rows", min=4, max=256), Dim("columns", min=4, max=256)
    free = {name: {2: size * row, 3: size * column} for name, (_, size) in cells_of.items()}
    free |= {"clicks": {0: Dim("count", min=1, max=1024)}, "mask": {0: 8 * row, 1: 8 * column}}
    return Program(module=ClickProgram(network).eval(), inputs=inputs, free=free)


def cut_tiny() -> bytes:
    """The program from pixels to features: that of `tiny` without the heads for words, a third of its time."""
    model = onnx.load(SHIPPED / ExportManifest.read(SHIPPED / TINY_MANIFEST).image, load_external_data=False)
    outputs = [one.name for one in model.graph.output if one.name in FEATURES]
    cut = Extractor(model).extract_model([one.name for one in model.graph.input], outputs)
    del cut.graph.value_info[:]
    return cut.SerializeToString(deterministic=True)


def main() -> None:
    """Parse the command line and run."""
    network = ClickNetwork()
    out, date = parsed(__doc__, network, Path("build/clicks"), PROGRAM)
    write_onnx(program_of(network), out, ())
    image = out.with_name(IMAGE_PROGRAM)
    image.write_bytes(cut_tiny())
    origin = OF_TINY | {
        "photographs": {name: photographs()[name] for name in DATA_SETS if name != "indoor"},
        "held_out": "a fifth of the photographs, by tools/clicks/views.py; all of indoor and car-parts",
    }
    write_record("clicks", date, [out, image], origin)


if __name__ == "__main__":
    main()

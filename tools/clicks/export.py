"""Write the programs of clicks that ship with segvoc, with a record of where the network comes from.

python -m tools.clicks.export --network build/clicks/network.pt
"""

import argparse
import hashlib
import json
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from segvoc.clicks.clicked_image import PROGRAM
from segvoc.exported.manifest import ExportManifest
from segvoc.exported.shipped import TINY_MANIFEST
from segvoc.inference.edges import IMAGE_PROGRAM
from segvoc.storage.files import SHIPPED
from tools.clicks.network import ClickNetwork
from tools.clicks.views import SIZE
from tools.tiny.photos import DATA_SETS

FEATURES = ("appearance", "tap_0", "tap_1")
"""What the network reads of a view beside its pixels."""


class ClickProgram(nn.Module):
    """The network on the pixels of one view; it gives probabilities."""

    def __init__(self, network: ClickNetwork) -> None:
        """Wrap."""
        super().__init__()
        self.network = network

    def forward(
        self, appearance: Tensor, tap_0: Tensor, tap_1: Tensor, pixels: Tensor, clicks: Tensor, mask: Tensor
    ) -> Tensor:
        """Logits at every second pixel (h w)."""
        colors = F.avg_pool2d(pixels, 2)
        return self.network(appearance, tap_0, tap_1, colors, clicks[None], mask[None, None])[0, 0]


def write(network: ClickNetwork, out: Path) -> None:
    """Write the program."""
    cells = SIZE // 16
    # two sizes that differ, so that none is taken for another
    rows, columns = cells, cells - 4
    inputs = {
        "appearance": torch.rand(1, 472, rows, columns),
        "tap_0": torch.rand(1, 48, 2 * rows, 2 * columns),
        "tap_1": torch.rand(1, 24, 4 * rows, 4 * columns),
        "pixels": 255 * torch.rand(1, 3, 16 * rows, 16 * columns),
        "clicks": torch.tensor([[0.5, 0.5, 1.0], [0.2, 0.3, -1.0], [0.7, 0.3, -1.0]]),
        "mask": torch.rand(8 * rows, 8 * columns),
    }
    row, column, count = Dim("rows", min=4, max=256), Dim("columns", min=4, max=256), Dim("count", min=1, max=1024)
    sizes = {
        "appearance": {2: row, 3: column},
        "tap_0": {2: 2 * row, 3: 2 * column},
        "tap_1": {2: 4 * row, 3: 4 * column},
        "pixels": {2: 16 * row, 3: 16 * column},
        "clicks": {0: count},
        "mask": {0: 8 * row, 1: 8 * column},
    }
    program = torch.onnx.export(
        ClickProgram(network).eval(),
        kwargs=inputs,
        dynamic_shapes=sizes,
        output_names=["logits"],
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    out.write_bytes(model.SerializeToString())


def cut_tiny() -> bytes:
    """The program from pixels to features: that of `tiny` without the heads for words, a third of its time."""
    model = onnx.load(SHIPPED / ExportManifest.read(SHIPPED / TINY_MANIFEST).image, load_external_data=False)
    graph, wanted = model.graph, set[str](FEATURES)
    outputs = [one for one in graph.output if one.name in wanted]
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            nodes.insert(0, node)
            wanted.update(node.input)
    weights = [one for one in graph.initializer if one.name in wanted]
    for own, kept in ((graph.node, nodes), (graph.output, outputs), (graph.initializer, weights)):
        del own[:]
        own.extend(kept)  # pyright: ignore[reportArgumentType]
    del graph.value_info[:]
    return model.SerializeToString(deterministic=True)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, default=Path("build/clicks/network.pt"))
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--out", type=Path, default=SHIPPED / PROGRAM, help="the program")
    parser.add_argument("--date", help="the day on which it was trained; without it no record is written")
    chosen = parser.parse_args()
    network = ClickNetwork()
    network.load_state_dict(torch.load(chosen.network))
    write(network, chosen.out)
    chosen.out.with_name(IMAGE_PROGRAM).write_bytes(cut_tiny())
    contents = {name: chosen.out.with_name(name).read_bytes() for name in (chosen.out.name, IMAGE_PROGRAM)}
    print({name: len(content) for name, content in contents.items()}, "bytes")
    if chosen.date:
        tiny = json.loads((SHIPPED / "tiny.json").read_text(encoding="utf-8"))
        photographs = {name: tiny["origin"]["photographs"][name] for name in DATA_SETS if name != "indoor"}
        record = {
            "origin": {
                "features": "tiny, frozen; see tiny.json",
                "photographs": photographs,
                "held_out": "a fifth of the photographs, by tools/clicks/views.py; all of indoor and car-parts",
            },
            "license": "Apache-2.0",
            "command": "make clicks",
            "date": chosen.date,
            "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
            "bytes": {name: len(content) for name, content in contents.items()},
        }
        (SHIPPED / "clicks.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Write the programs of edges and clicks that ship with segvoc, and records of where shipped networks come from.

    python -m tools.shipped_networks edges [--network build/edges/network.pt] [--date 2026-11-28]

Without the day of training no record is written. Tracing takes two minutes.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx.utils import Extractor
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from segvoc.exporting.onnx_files import write_onnx
from segvoc.exporting.programs import Program
from segvoc.inference.clicks import PROGRAM
from segvoc.inference.edges import EDGE_WEIGHTS, EDGES, IMAGE_PROGRAM
from segvoc.inference.exported.manifest import ExportManifest
from segvoc.models.shipped import TINY_MANIFEST
from segvoc.storage.files import SHIPPED
from tools.clicks import views as click_views
from tools.clicks.network import ClickNetwork
from tools.edges.maps import COUNTS, HELD_OUT, TAUGHT
from tools.edges.network import FEATURES, STEPS, EdgeNetwork, refine
from tools.tiny.photos import DATA_SETS

Named = Mapping[str, Tensor]

FILES = {"edges": (EDGE_WEIGHTS, EDGES), "clicks": (PROGRAM, IMAGE_PROGRAM)}


class _Named(nn.Module):
    """A network on named inputs, which gives a named output."""

    def __init__(self, network: nn.Module, output: str, call: Callable[[Any, Named], Tensor]) -> None:
        super().__init__()
        self.network, self.output, self.call = network, output, call

    def forward(self, inputs: Named) -> dict[str, Tensor]:
        return {self.output: self.call(self.network, inputs)}


def edge_programs(network: nn.Module) -> list[Program]:
    """The edge refiner in two halves: what reads views gives "weights", what reads these and maps gives "refined"."""
    # sizes that differ, so that none is taken for another
    views, words, rows, columns = 2, 5, 28, 24
    view, row, column = Dim("views"), Dim("rows", min=4, max=256), Dim("columns", min=4, max=256)
    of_views = {"pixels": (3, 16)}
    of_views |= {name: (FEATURES[name], cells) for name, cells in zip(FEATURES, (4, 2, 1), strict=True)}
    of_maps = {"maps": (words, 4), "weights": (9 * (len(STEPS) + 4), 4)}

    def program(output: str, call: Callable[[Any, Named], Tensor], shapes: Mapping[str, tuple[int, int]]) -> Program:
        inputs = {
            name: torch.rand(views, size, rows * cells, columns * cells) for name, (size, cells) in shapes.items()
        }
        free = {name: {0: view, 2: cells * row, 3: cells * column} for name, (_, cells) in shapes.items()}
        if "maps" in free:
            free["maps"][1] = Dim("words")
        return Program(module=_Named(network, output, call).eval(), inputs=inputs, free=free)

    return [
        program("weights", lambda network, named: network.weights(**named), of_views),
        program("refined", lambda _, named: refine(**named), of_maps),
    ]


def _clicked(network: ClickNetwork, named: Named) -> Tensor:
    features, colors = [named[name] for name in click_views.FEATURES], F.avg_pool2d(named["pixels"], 2)
    return network(*features, colors, named["clicks"][None], named["mask"][None, None])[0, 0]


def click_program(network: nn.Module) -> Program:
    """The network of clicks on one view; gives "logits" at every second pixel (h w)."""
    rows = click_views.SIZE // 16
    columns = rows - 4  # another size, so that none is taken for the other
    shapes = {name: (count, 16 // stride) for name, (count, stride) in click_views.FEATURES.items()}
    shapes |= {"pixels": (3, 16)}
    inputs = {
        **{name: torch.rand(1, count, cells * rows, cells * columns) for name, (count, cells) in shapes.items()},
        "clicks": torch.tensor([[0.5, 0.5, 1.0], [0.2, 0.3, -1.0], [0.7, 0.3, -1.0]]),
        "mask": torch.rand(8 * rows, 8 * columns),
    }
    row, column = Dim("rows", min=4, max=256), Dim("columns", min=4, max=256)
    free = {name: {2: cells * row, 3: cells * column} for name, (_, cells) in shapes.items()}
    free |= {"clicks": {0: Dim("count", min=1, max=1024)}, "mask": {0: 8 * row, 1: 8 * column}}
    return Program(module=_Named(network, "logits", _clicked).eval(), inputs=inputs, free=free)


def cut_tiny() -> bytes:
    """The program from pixels to features: that of `tiny` without the heads for words, a third of its time."""
    model = onnx.load(SHIPPED / ExportManifest.read(SHIPPED / TINY_MANIFEST).image, load_external_data=False)
    outputs = [one.name for one in model.graph.output if one.name in click_views.FEATURES]
    cut = Extractor(model).extract_model([one.name for one in model.graph.input], outputs)
    del cut.graph.value_info[:]
    return cut.SerializeToString(deterministic=True)


def origin(name: str) -> dict[str, Any]:
    """What edges or clicks learned from."""
    tiny = json.loads((SHIPPED / "tiny.json").read_text(encoding="utf-8"))["origin"]["photographs"]
    features = {"features": "tiny, frozen; see tiny.json"}
    if name == "clicks":
        held_out = "a fifth of the photographs, by tools/clicks/views.py; all of indoor and car-parts"
        photographs = {data_set: tiny[data_set] for data_set in DATA_SETS if data_set != "indoor"}
        return features | {"photographs": photographs, "held_out": held_out}
    licenses = tiny | {"facade-demo/train": "30 photographs of a-hwang/building-facade-segmentation; CC BY 4.0"}
    counts = {(whole, whole.partition(":")[0]): count for whole, count in (COUNTS | TAUGHT).items()}
    seen = {whole: f"{count} of {licenses[data]}" for (whole, data), count in counts.items() if data not in HELD_OUT}
    return features | {"photographs": seen}


def write_record(name: str, date: str | None, files: Sequence[Path], origin: Mapping[str, Any], **more: Any) -> None:
    """Print the sizes of shipped files, and beside them where they come from, if the day of training is known."""
    contents = {file.name: file.read_bytes() for file in files}
    sizes = {name: len(content) for name, content in contents.items()}
    print(sizes, "bytes")
    record = {
        "origin": origin,
        "license": "Apache-2.0",
        "command": f"make {name}",
        "date": date,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        "bytes": sizes,
        **more,
    }
    if date is not None:
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        files[0].with_name(f"{name}.json").write_text(text, encoding="utf-8")


def main() -> None:
    """Parse the command line, load the trained weights, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=FILES)
    parser.add_argument("--network", type=Path, help="trained weights; by default build/NAME/network.pt")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the folder; by default the one that ships")
    parser.add_argument("--date", help="the day on which it was trained")
    chosen = parser.parse_args()
    network = EdgeNetwork() if chosen.name == "edges" else ClickNetwork()
    network.load_state_dict(torch.load(chosen.network or Path("build", chosen.name, "network.pt")))
    files = [chosen.out / name for name in FILES[chosen.name]]
    if chosen.name == "edges":
        for program, file in zip(edge_programs(network), files, strict=True):
            write_onnx(program, file, ())
    else:
        write_onnx(click_program(network), files[0], ())
        files[1].write_bytes(cut_tiny())
    write_record(chosen.name, chosen.date, files, origin(chosen.name))


if __name__ == "__main__":
    main()

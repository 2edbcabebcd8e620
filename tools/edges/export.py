"""Write the program of edges that ships with segvoc, with a record of where the network comes from.

python -m tools.edges.export --network build/edges/network.pt
"""

import argparse
import hashlib
import json
from pathlib import Path

import onnx
import torch
from torch.export import Dim

from segvoc.inference.edges import EDGES, WEIGHTS
from tools.edges.maps import COUNTS, HELD_OUT
from tools.edges.network import FEATURES, EdgeNetwork


def write(network: EdgeNetwork, out: Path) -> None:
    """Write the program."""
    # sizes that differ, so that none is taken for another
    rows, columns, words = 28, 24, 5
    inputs = {
        "maps": torch.randn(2, words, 4 * rows, 4 * columns),
        "pixels": 255 * torch.rand(2, 3, 16 * rows, 16 * columns),
    }
    inputs |= {
        name: torch.rand(2, count, 4 * rows // 2**number, 4 * columns // 2**number)
        for number, (name, count) in enumerate(FEATURES.items())
    }
    row, column = Dim("rows", min=4, max=4096), Dim("columns", min=4, max=4096)
    sizes = {
        name: {0: Dim("views", min=1, max=4096), 2: x.shape[2] // rows * row, 3: x.shape[3] // columns * column}
        for name, x in inputs.items()
    }
    sizes["maps"][1] = Dim("words", min=1, max=1 << 17)
    program = torch.onnx.export(
        network.eval(),
        kwargs=inputs,
        dynamic_shapes=sizes,
        output_names=["refined"],
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


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, default=Path("build/edges/network.pt"))
    parser.add_argument("--out", type=Path, default=WEIGHTS / EDGES, help="the program")
    parser.add_argument("--date", help="the day on which it was trained; without it no record is written")
    chosen = parser.parse_args()
    network = EdgeNetwork()
    network.load_state_dict(torch.load(chosen.network))
    write(network, chosen.out)
    content = chosen.out.read_bytes()
    print(len(content), "bytes")
    if chosen.date:
        tiny = json.loads((WEIGHTS / "tiny.json").read_text(encoding="utf-8"))["origin"]["photographs"]
        demo = {"facade-demo": "42 photographs of building-facade-segmentation (Roboflow); CC BY 4.0"}
        record = {
            "origin": {
                "features": "tiny, frozen; see tiny.json",
                "photographs": {name: (tiny | demo)[name] for name in COUNTS if name != HELD_OUT},
                "held_out": f"all of {HELD_OUT}, whose authors state no license",
            },
            "license": "Apache-2.0",
            "command": "make edges",
            "date": chosen.date,
            "sha256": {EDGES: hashlib.sha256(content).hexdigest()},
            "bytes": {EDGES: len(content)},
        }
        (WEIGHTS / "edges.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

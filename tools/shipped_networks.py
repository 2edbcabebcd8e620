"""What makes shipped networks: the command line of edges and clicks, and the record of the files that are written."""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segvoc.storage.files import SHIPPED


def parsed(description: str | None, network: nn.Module, folder: Path, program: str) -> tuple[Path, str | None]:
    """Parse the command line and load trained weights; the path of the program to write, and the day of training."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", type=Path, default=folder / "network.pt")
    parser.add_argument("--out", type=Path, default=SHIPPED / program, help="the program")
    parser.add_argument("--date", help="the day on which it was trained; without it no record is written")
    chosen = parser.parse_args()
    network.load_state_dict(torch.load(chosen.network))
    return chosen.out, chosen.date


OF_TINY = {"features": "tiny, frozen; see tiny.json"}


def photographs() -> dict[str, str]:
    """The photographs that `tiny` learned from with their license, by data set."""
    return json.loads((SHIPPED / "tiny.json").read_text(encoding="utf-8"))["origin"]["photographs"]


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

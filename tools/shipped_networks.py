"""What `tools.edges.export` and `tools.clicks.export` share: their command line, and the record of what they write."""

import argparse
import hashlib
import json
from collections.abc import Mapping
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


def photographs() -> dict[str, str]:
    """The photographs that `tiny` learned from with their license, by data set."""
    return json.loads((SHIPPED / "tiny.json").read_text(encoding="utf-8"))["origin"]["photographs"]


def write_record(name: str, date: str | None, files: Mapping[str, bytes], origin: Mapping[str, Any]) -> None:
    """Print the sizes of shipped files, and record where they come from, if the day of training is known."""
    print({file: len(content) for file, content in files.items()}, "bytes")
    record = {
        "origin": {"features": "tiny, frozen; see tiny.json", **origin},
        "license": "Apache-2.0",
        "command": f"make {name}",
        "date": date,
        "sha256": {file: hashlib.sha256(content).hexdigest() for file, content in files.items()},
        "bytes": {file: len(content) for file, content in files.items()},
    }
    if date is not None:
        (SHIPPED / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

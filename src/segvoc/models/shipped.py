"""The programs of `tiny` that ship with segvoc and run without PyTorch; `make tiny-programs` writes them."""

import json
import shutil
from pathlib import Path

from segvoc.inference.edges import EDGE_WEIGHTS, EDGES
from segvoc.inference.exported.manifest import ExportManifest
from segvoc.inference.exported.segmenter import ExportedSegmenter
from segvoc.storage.files import SHIPPED, read_json

TINY_MANIFEST = "tiny_segvoc.json"
"""Manifest of the programs in `SHIPPED`."""


def open_tiny() -> ExportedSegmenter:
    """Open `tiny`; its results equal those of its PyTorch network in float32."""
    return ExportedSegmenter(SHIPPED, manifest=TINY_MANIFEST)


def copy_tiny(folder: Path) -> None:
    """Write `tiny` as a self-contained exported folder."""
    shipped = ExportManifest.read(SHIPPED / TINY_MANIFEST)
    assert shipped.text is not None
    names = {name: name.removeprefix("tiny_") for name in (*shipped.program_files, *shipped.files_apart)}
    names[shipped.text.tokenizer] = "tokenizer.json"
    weights = {path.name: path.name for path in SHIPPED.glob("*.safetensors")}
    for name, target in (names | weights | {name: name for name in (EDGE_WEIGHTS, EDGES)}).items():
        shutil.copyfile(SHIPPED / name, folder / target)
    shipped.renamed(names).write(folder)


def is_tiny(origin: object) -> bool:
    """Whether a model's origin is `tiny` with the preset's configuration."""
    shipped = read_json(SHIPPED / TINY_MANIFEST)["origin"]
    del shipped["record"]
    return json.loads(json.dumps(origin)) == shipped

"""The files with which a page finds objects by clicks: those of `tiny`, whatever model the page labels with."""

import filecmp
import json
import shutil
from pathlib import Path

from segvoc.exported.shipped import SHIPPED, TINY_MANIFEST

DESCRIPTION = "clicks.json"
"""Describes the files, in their folder."""

IMAGE = "clicks_image.onnx"
"""From pixels to what `tiny` sees in them, without the heads for words; its weights are those of `tiny`."""

PROGRAM = "clicks.onnx"
"""From what `tiny` sees in a view, clicks and the mask so far to the mask."""

TINY_WEIGHTS = "tiny.safetensors"
"""Weights of `IMAGE`, by the name that it has for them."""


def click_description(weights: str) -> dict[str, object]:
    """What `clicks.json` says.

    Args:
        weights: address of the weights of `IMAGE`, relative to that of the description.
    """
    about = json.loads((SHIPPED / TINY_MANIFEST).read_text(encoding="utf-8"))
    protocol = about["protocols"]["auto"]
    return {"image": IMAGE, "weights": {TINY_WEIGHTS: weights}, "program": PROGRAM, "protocol": protocol}


def write_click_files(folder: Path, model: Path) -> None:
    """Write what a page needs to find objects by clicks.

    Args:
        folder: a new folder beside that of the page's model.
        model: the folder of the page's model, whose weights are used if they are those of `tiny`.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir()
    own = model / TINY_WEIGHTS
    is_tiny = own.is_file() and filecmp.cmp(own, SHIPPED / TINY_WEIGHTS, False)
    for name in (IMAGE, PROGRAM) if is_tiny else (IMAGE, PROGRAM, TINY_WEIGHTS):
        shutil.copyfile(SHIPPED / name, folder / name)
    content = click_description(f"../{model.name}/{TINY_WEIGHTS}" if is_tiny else TINY_WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

"""The files with which a page finds objects by clicks: those of `tiny`, whatever model the page labels with."""

import filecmp
import json
import shutil
from pathlib import Path

from segvoc.exported.manifest import ExportManifest
from segvoc.exported.shipped import SHIPPED, TINY_MANIFEST

DESCRIPTION = "clicks.json"
"""Describes the files, in their folder."""

PROGRAM = "clicks.onnx"
"""From what `tiny` sees in a view, clicks and the mask so far to the mask."""

_WEIGHTS = "tiny.safetensors"


def click_description(image: str, weights: str) -> dict[str, object]:
    """What `clicks.json` says.

    Args:
        image: address of the program from pixels to features, relative to that of the description.
        weights: address of its weights.
    """
    about = json.loads((SHIPPED / TINY_MANIFEST).read_text(encoding="utf-8"))
    protocol = about["protocols"]["auto"]
    return {"image": image, "weights": {_WEIGHTS: weights}, "program": PROGRAM, "protocol": protocol}


def write_click_files(folder: Path, model: Path) -> None:
    """Write what a page needs to find objects by clicks.

    Args:
        folder: a new folder beside that of the page's model.
        model: the folder of the page's model, whose files are used if it is `tiny` as it ships.

    Raises:
        OSError: the folder can't be written.
    """
    folder.mkdir()
    shipped = ExportManifest.read(SHIPPED / TINY_MANIFEST).image
    image = shipped.removeprefix("tiny_")
    sources = {image: SHIPPED / shipped, _WEIGHTS: SHIPPED / _WEIGHTS}
    is_tiny = all((model / own).is_file() and filecmp.cmp(model / own, one, False) for own, one in sources.items())
    if not is_tiny:
        for own, one in sources.items():
            shutil.copyfile(one, folder / own)
    place = f"../{model.name}/" if is_tiny else ""
    shutil.copyfile(SHIPPED / PROGRAM, folder / PROGRAM)
    content = click_description(place + image, place + _WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

"""A static site with the page and a model that runs in the browser."""

import filecmp
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from segvoc import UsageError
from segvoc.inference.clicks import PROGRAM
from segvoc.inference.edges import IMAGE_PROGRAM
from segvoc.inference.exported.manifest import is_exported
from segvoc.inference.exported.segmenter import TINY_MANIFEST
from segvoc.storage.atomic_writes import folder_in_the_making
from segvoc.storage.files import SHIPPED
from segvoc_annotate.settings import WEB

MODEL_FOLDER = "model"
"""Name of the page's folder that holds the exported model."""

CLICKS_FOLDER = "clicks"
"""Name of the folder of the click network, always `tiny`'s regardless of the page's model."""

CLICKS_FILE = "clicks.json"
"""Description of the click files."""

TINY_WEIGHTS = "tiny.safetensors"
"""Weights file of the image program, as named in it."""

_DESCRIPTION = "runtime.json"
"""Names the page's matching WebAssembly file; not part of the page."""


def write_page(out: Path, write_model: Callable[[Path], object]) -> None:
    """Write a page with a model, atomically, in place of an earlier one; `write_model` writes the exported model.

    `UsageError` if `out` exists and isn't a page, or ONNX Runtime's file is damaged; raises `OutputError`, too.
    """
    if out.exists() and not is_exported(out / MODEL_FOLDER) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} exists and is not a page; name another folder")
    with folder_in_the_making(out) as folder:
        write_page_files(folder)
        write_model(folder / MODEL_FOLDER)
        _write_click_files(folder / CLICKS_FOLDER, folder / MODEL_FOLDER)


def write_page_files(folder: Path) -> None:
    """Write the page's files into an existing folder; see `write_page`."""
    description = json.loads((WEB / _DESCRIPTION).read_text(encoding="utf-8"))
    packed = WEB / f"{description['file']}.gz"
    try:
        digest = hashlib.sha256(gzip.decompress(packed.read_bytes())).hexdigest()
    except (OSError, EOFError) as error:
        raise UsageError(f"{str(packed)!r} can't be read ({error}); install segvoc-annotate again") from None
    if digest != description["sha256"]:
        raise UsageError(f"{str(packed)!r} is not the file of {description['package']}; install segvoc-annotate again")
    for path in WEB.iterdir():
        if path.name != _DESCRIPTION:
            shutil.copyfile(path, folder / path.name)


def click_description(weights: str) -> dict[str, object]:
    """The content of `clicks.json`; `weights` is the address of the image program's, relative to it."""
    about = json.loads((SHIPPED / TINY_MANIFEST).read_text(encoding="utf-8"))
    protocol = about["protocols"]["auto"]
    return {"image": IMAGE_PROGRAM, "weights": {TINY_WEIGHTS: weights}, "program": PROGRAM, "protocol": protocol}


def _write_click_files(folder: Path, model: Path) -> None:
    """Write the click network; its weights only if the page's model has different ones."""
    folder.mkdir()
    own = model / TINY_WEIGHTS
    is_tiny = own.is_file() and filecmp.cmp(own, SHIPPED / TINY_WEIGHTS, False)
    for name in (IMAGE_PROGRAM, PROGRAM) if is_tiny else (IMAGE_PROGRAM, PROGRAM, TINY_WEIGHTS):
        shutil.copyfile(SHIPPED / name, folder / name)
    content = click_description(f"../{model.name}/{TINY_WEIGHTS}" if is_tiny else TINY_WEIGHTS)
    (folder / CLICKS_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

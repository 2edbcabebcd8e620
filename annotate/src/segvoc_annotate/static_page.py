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


def write_page(out: Path, write_model: Callable[[Path], object], runtime: Path | None = None) -> None:
    """Write a page with a model, atomically.

    Args:
        out: the folder; an earlier page there is replaced.
        write_model: writes the exported model into a new folder.
        runtime: the npm package onnxruntime-web, or the folder of its WebAssembly file; None: the file beside the built
            page, which wheels carry and `make web` writes.

    Raises:
        UsageError: `out` exists and isn't a page, or the WebAssembly file is missing or doesn't match the page.
        OutputError: the folder can't be written.
    """
    if out.exists() and not is_exported(out / MODEL_FOLDER) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} exists and is not a page; name another folder")
    with folder_in_the_making(out) as folder:
        write_page_files(folder, runtime)
        write_model(folder / MODEL_FOLDER)
        _write_click_files(folder / CLICKS_FOLDER, folder / MODEL_FOLDER)


def write_page_files(folder: Path, runtime: Path | None = None) -> None:
    """Write the page's files; see `write_page`.

    Args:
        folder: the page's existing folder.
        runtime: as for `write_page`.
    """
    description = json.loads((WEB / _DESCRIPTION).read_text(encoding="utf-8"))
    packed = f"{description['file']}.gz"
    content = _runtime(description, packed, runtime)
    for path in WEB.iterdir():
        if path.name not in (_DESCRIPTION, packed):
            shutil.copyfile(path, folder / path.name)
    # compressed to a quarter, whatever the server does
    (folder / packed).write_bytes(gzip.compress(content, mtime=0))


def _runtime(description: dict[str, str], packed: str, folder: Path | None) -> bytes:
    name, package = description["file"], description["package"]
    if folder is None:
        path = WEB / packed
        how = f"run 'make web', or 'npm install {package.replace(' ', '@')}' and give its folder as --runtime"
    else:
        inside = folder / "dist" / name
        path = inside if inside.is_file() else folder / name
        how = f"give the folder of npm's {package}"
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read ({error})"
        raise UsageError(f"the page needs ONNX Runtime's file {name}: {str(path)!r} {reason}; {how}") from None
    if hashlib.sha256(content).hexdigest() != description["sha256"]:
        raise UsageError(f"{str(path)!r} is not the file of {package}, for which the page was built; {how}")
    return content


def click_description(weights: str) -> dict[str, object]:
    """The content of `clicks.json`.

    Args:
        weights: address of the image program's weights, relative to the description's.
    """
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

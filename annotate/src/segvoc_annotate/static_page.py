"""A static site with the page and a model that runs in the browser."""

import filecmp
import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from segvoc import UsageError
from segvoc.inference.clicks import PROGRAM
from segvoc.inference.edges import IMAGE_PROGRAM
from segvoc.models.shipped import TINY_MANIFEST
from segvoc.storage.atomic_writes import folder_in_the_making, put_in_place, writing
from segvoc.storage.files import SHIPPED, read_json, safe_path, write_json
from segvoc_annotate.settings import WEB

MODEL_FOLDER = "model"
"""Name of the page's folder that holds the exported model."""

CLICKS_FOLDER = "clicks"
"""Name of the folder of the click network, always `tiny`'s regardless of the page's model."""

CLICKS_FILE = "clicks.json"
"""Description of the click files."""

TINY_WEIGHTS = "tiny.safetensors"
"""Weights file of the image program, as named in it."""

PAGE_FILE = ".segvoc-page.json"
"""Names the files that segvoc has written."""

_DESCRIPTION = "runtime.json"
"""Names the page's matching WebAssembly file; not part of the page."""


def write_page(out: Path, write_model: Callable[[Path], object]) -> None:
    """Write a page with a model; `write_model` writes the exported model.

    The files of an earlier page are replaced, the start page last; all other files stay. `UsageError` if `out` exists
    and isn't a page, other files are in the way, or ONNX Runtime's file is damaged; raises `OutputError`, too.
    """
    earlier = _files_of_page(out)
    if earlier is None and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise UsageError(f"{str(out)!r} exists and is not a page; name another folder")
    making = folder_in_the_making(out) if earlier is None else TemporaryDirectory(prefix=".segvoc-", dir=out)
    with writing(out), making as name:
        folder = Path(name)
        write_page_files(folder)
        write_model(folder / MODEL_FOLDER)
        _write_click_files(folder / CLICKS_FOLDER, folder / MODEL_FOLDER)
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        if earlier is not None:
            _replace(out, folder, earlier, files)
        write_json((folder if earlier is None else out) / PAGE_FILE, {"files": sorted(files)})


def _files_of_page(out: Path) -> set[str] | None:
    """The files that an earlier page has written; None if there is no page."""
    try:
        return {safe_path(name).as_posix() for name in read_json(out / PAGE_FILE)["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _replace(out: Path, folder: Path, earlier: set[str], files: set[str]) -> None:
    """Move new files into the folder of an earlier page, and remove what only that had."""
    if foreign := sorted(name for name in files - earlier if os.path.lexists(out / name)):
        raise UsageError(f"{str(out / foreign[0])!r} is not of the earlier page; move it, or name another folder")
    write_json(out / PAGE_FILE, {"files": sorted(earlier | files)})
    for name in sorted(files, key=lambda name: (name == "index.html", name)):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        put_in_place(folder / name, out / name)
    for name in earlier - files:
        (out / name).unlink(missing_ok=True)


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

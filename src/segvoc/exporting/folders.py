"""Folders of exported models, which appear when they are complete."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.exported.click_files import write_click_files
from segvoc.exported.manifest import is_exported
from segvoc.exporting.page import CLICKS_FOLDER, MODEL_FOLDER, write_web_page
from segvoc.storage.atomic_writes import writing


@contextmanager
def folder_in_the_making(out: Path, *, page: bool = False, runtime: Path | None = None) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place if nothing fails; a kill leaves no folder that looks done.

    Args:
        out: the folder to write; an earlier export there is replaced.
        page: write a web page around the model, which is its folder "model".
        runtime: for the page, see `write_web_page`.

    Yields:
        The empty folder for the model.

    Raises:
        UsageError: `out` is something else than an exported model or page, or the page's runtime is missing.
        OutputError: the folder can't be written.
    """
    earlier = is_exported(out) or is_exported(out / MODEL_FOLDER)
    if out.exists() and not earlier and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} exists and is not an exported model; name another folder")
    folder, old = (out.parent / f".segvoc-{secrets.token_hex(8)}.tmp" for _ in range(2))
    with writing(out):
        folder.mkdir(parents=True)
        try:
            inside = folder
            if page:
                write_web_page(folder, runtime)
                inside = folder / MODEL_FOLDER
                inside.mkdir()
            yield inside
            if page:
                write_click_files(folder / CLICKS_FOLDER, inside)
            if out.exists():
                out.rename(old)
            folder.rename(out)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

"""Folders of exported models, which appear when they are complete."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.exported.manifest import is_exported
from segvoc.storage.atomic_writes import writing


@contextmanager
def folder_in_the_making(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place if nothing fails; a kill leaves no folder that looks done.

    Args:
        out: the folder to write; an earlier export there is replaced.

    Yields:
        The hidden folder, which is empty.

    Raises:
        UsageError: `out` is something else than an exported model.
        OutputError: the folder can't be written.
    """
    if out.exists() and not is_exported(out) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} exists and is not an exported model; name another folder")
    folder, old = (out.parent / f".segvoc-{secrets.token_hex(8)}.tmp" for _ in range(2))
    with writing(out):
        folder.mkdir(parents=True)
        try:
            yield folder
            if out.exists():
                out.rename(old)
            folder.rename(out)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

"""Writing a file or a folder so that at every moment either the old or the new one stands there, whole."""

import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from segvoc.errors import DiskFullError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)

_FIXES = {
    **dict.fromkeys(_FULL, "free some space or choose another folder"),
    errno.EFBIG: "raise the limit on file sizes (ulimit -f) or choose another folder",
    errno.EACCES: "change the permissions or choose another folder",
    errno.EPERM: "change the permissions or choose another folder",
    errno.EROFS: "choose another folder",
    errno.EEXIST: "a file stands where the folder should be: move it or choose another folder",
    errno.ENOTDIR: "a file stands where the folder should be: move it or choose another folder",
    errno.EISDIR: "a folder stands where the file should be: move it or choose another folder",
    errno.ENAMETOOLONG: "give the input a shorter name",
}


WINDOWS_SECONDS = 2.0
"""How long a file is waited for that another process has open, on Windows [s]."""


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file through a temporary one in the same folder, which then takes its place (POSIX `rename`).

    Folders are made where needed. Whoever reads, and whenever the process is killed, finds the old file or the new one,
    never a part; only a hidden `.segvoc-*.tmp` may stay after a kill. A symbolic link is replaced, not followed.

    Args:
        path: the file to write.
        write: writes the content into the open file it is given; what it raises comes through, except `OSError`.

    Raises:
        OutputError: the system refused, for example because the disk is full.
    """

    def write_and_flush(temporary: Path) -> None:
        # "x" and not `tempfile`, which would leave a file that only its owner can read.
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())

    _replace(Path(path), write_and_flush)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file with this content, atomically.

    Raises:
        OutputError: the system refused.
    """
    write_atomically(path, lambda file: file.write(content))


def write_path_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Do the same for a library that writes to a path rather than into an open file.

    Args:
        path: the file to write.
        write: writes the content to the path that it is given, where nothing is yet.

    Raises:
        OutputError: the system refused.
    """

    def write_and_flush(temporary: Path) -> None:
        write(temporary)
        with temporary.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())

    _replace(Path(path), write_and_flush)


def _replace(target: Path, write: Callable[[Path], object]) -> None:
    # Not named after the target, whose name may already be as long as the file system allows.
    temporary = target.parent / f".segvoc-{secrets.token_hex(8)}.tmp"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            put_in_place(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def put_in_place(new: Path, target: Path) -> None:
    """Move a file over another one, which it replaces.

    Windows refuses while some process has that one open, such as a virus scanner or a reader; most let go of it soon.

    Raises:
        OSError: the system refused.
    """
    end = time.monotonic() + (WINDOWS_SECONDS if sys.platform == "win32" else 0.0)
    while True:
        try:
            new.replace(target)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.02)


@contextmanager
def folder_in_the_making(out: Path) -> Iterator[Path]:
    """A hidden folder beside `out` that takes its place if nothing fails; a kill leaves no folder that looks done.

    Args:
        out: the folder to write; what is there is replaced.

    Yields:
        The hidden folder, which is empty.

    Raises:
        OutputError: the folder can't be written.
    """
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


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise what the system refuses inside as an `OutputError` about a file or folder."""
    try:
        yield
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: str | os.PathLike[str], error: OSError) -> OutputError:
    """The error for a file that the system refused to write: what is wrong and how to fix it, in one line."""
    fix = _FIXES.get(error.errno or 0, "check the folder and the disk")
    kind = DiskFullError if error.errno in _FULL else OutputError
    return kind(f"{os.fspath(path)!r} can't be written: {error.strerror or error}; {fix}")

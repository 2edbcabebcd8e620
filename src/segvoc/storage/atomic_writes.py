"""Atomic writes of files and folders: at any moment, the path has the complete old or new content."""

import ctypes
import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from segvoc.errors import DiskFullError, LongNameError, OutputError

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

_KINDS = {**dict.fromkeys(_FULL, DiskFullError), errno.ENAMETOOLONG: LongNameError}

WINDOWS_SECONDS = 2.0
"""Timeout for a file that another process has open, on Windows [s]."""


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file through a temporary file in the same folder, renamed into place (POSIX `rename`).

    Creates folders as needed. Readers always see the complete old or new file, even if the process is killed; a kill
    may leave a hidden `.segvoc-*.tmp`. A symbolic link is replaced, not followed. Exceptions of `write` propagate,
    except that an `OSError` becomes an `OutputError`.
    """

    def write_file(temporary: Path) -> None:
        # "x" and not `tempfile`, which would leave a file that only its owner can read.
        with temporary.open("xb") as file:
            write(file)

    write_path_atomically(path, write_file)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes to a file, like `write_atomically`."""
    write_atomically(path, lambda file: file.write(content))


def write_path_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Like `write_atomically`, for libraries that write to a path, which doesn't exist yet."""
    target = Path(path)
    # Not named after the target, whose name may already be as long as the file system allows.
    temporary = target.parent / f".segvoc-{secrets.token_hex(8)}.tmp"
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("r+b") as file:  # Windows only flushes writable files
                os.fsync(file.fileno())
            put_in_place(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def put_in_place(new: Path, target: Path) -> None:
    """Move a file, replacing the target.

    Windows fails while a process, such as a virus scanner, has the target open, so retry for a while.
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
    """Write a folder atomically: yields a hidden, empty folder beside `out`, which replaces `out` on success.

    Where two folders can't be exchanged in one step (not Linux, or a network disk), a kill between two renames may
    leave the earlier folder beside `out`, as `out.earlier-1a2b3c4d`.
    """
    folder = out.parent / f".segvoc-{secrets.token_hex(8)}.tmp"
    with writing(out):
        folder.mkdir(parents=True)
        try:
            yield folder
            if not os.path.lexists(out):
                folder.rename(out)
            elif not os.path.isdir(out):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            elif not _exchange(folder, out):
                earlier = out.with_name(f"{out.name}.earlier-{secrets.token_hex(4)}")
                out.rename(earlier)
                try:
                    folder.rename(out)
                except BaseException:
                    earlier.rename(out)
                    raise
                _remove(earlier)
        finally:
            _remove(folder)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False if this system or disk can't."""
    if sys.platform != "linux":
        return False
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)  # musl has none
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange is not None and exchange(here, os.fsencode(one), here, os.fsencode(other), swap) == 0


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def check_names(paths: Iterable[Path]) -> None:
    """Create the folders of files to be written; `OutputError` if a file can't have its name, before any is written."""
    for path in paths:
        with writing(path), suppress(FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.lstat()


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` inside into an `OutputError` about a file or folder."""
    try:
        yield
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "check the folder and the disk")
        kind = _KINDS.get(error.errno or 0, OutputError)
        raise kind(f"{os.fspath(path)!r} can't be written: {error.strerror or error}; {fix}") from error

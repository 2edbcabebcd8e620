"""Folders on disks, on S3, GCS, Azure and HDFS (by Arrow), and wherever fsspec reaches.

What is transient (a storage that is busy, a connection that broke) is tried again here; what is final comes through as
`FileNotFoundError`, `PermissionError` and the like.
"""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from segvoc.errors import InputError, OutputError, UnavailableError, UsageError, missing_extra, one_line
from segvoc.storage.atomic_writes import write_bytes

ATTEMPTS = 7
"""How often a storage is asked before it counts as unavailable, over about 15 seconds. Arrow itself asks S3 several
times with each, which makes a minute and a half."""

STORAGE_WAIT = 0.25
"""Time before the second attempt [s]; it doubles with each, with a random share, so that workers don't ask together."""

STORAGE_THREADS = 16
"""Threads that ask a storage at the same time; they mostly wait."""

MAX_BYTES = 1 << 30
"""Most bytes of one image file."""

_ARROW = frozenset(("s3", "gs", "abfs", "abfss", "hdfs"))
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

Answer = TypeVar("Answer")

Unit = tuple[str, int, int]
"""A file of a folder: its path below it, size [bytes] and time of the last change [ns] (0 where that isn't known)."""


@dataclass(frozen=True)
class Folder:
    """A folder, or a file that is to be one; made by `folder_at`."""

    address: str
    """As it was given."""
    path: str
    """What the file system calls it."""
    filesystem: Any = field(repr=False)
    """A `pyarrow.fs.FileSystem`."""
    is_local: bool
    """Whether it is on this machine's disks."""

    @property
    def root(self) -> str:
        """Its address in a form that is the same for all ways to write it, with "/" at the end."""
        return (self.path if self.is_local else self.address).rstrip("/") + "/"

    def address_of(self, name: str) -> str:
        """The address of a file."""
        return f"{self.address.rstrip('/')}/{name}"

    def ask(self, name: str, ask: Callable[[str], Answer]) -> Answer:
        """What the file system answers about a file, given its path there; a storage is asked several times.

        Raises:
            OSError: the answer is final.
            UnavailableError: the storage doesn't answer.
        """
        path = f"{self.path.rstrip('/')}/{name}" if name else self.path
        return ask(path) if self.is_local else retried(self.address_of(name), lambda: ask(path))

    def info(self) -> Any:
        """What is there: a `pyarrow.fs.FileInfo`.

        Raises:
            UnavailableError: the storage doesn't answer.
        """
        return self.ask("", self.filesystem.get_file_info)

    def files(self) -> list[Unit]:
        """All files, also of folders below, sorted by path; none if it doesn't exist.

        Raises:
            UnavailableError: the storage doesn't answer.
        """
        from pyarrow.fs import FileSelector, FileType

        selector = FileSelector(self.path, recursive=True, allow_not_found=True)
        infos = self.ask("", lambda _: self.filesystem.get_file_info(selector))
        start = len(self.path.rstrip("/")) + 1
        return sorted(
            (info.path[start:], int(info.size or 0), int(info.mtime_ns or 0))
            for info in infos
            if info.type == FileType.File and not info.path.endswith("/")
        )

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: it is too large.
            OSError: it isn't there or may not be read.
            UnavailableError: the storage doesn't answer.
        """

        def read(path: str) -> bytes:
            with self.filesystem.open_input_file(path) as file:
                check_bytes(file.size(), self.address_of(name))
                return file.read()

        return self.ask(name, read)

    def write(self, name: str, content: bytes) -> None:
        """Write a file as a whole: atomically on a disk, and on a storage of objects, which shows no parts.

        Raises:
            OutputError: the system or the storage refused, or didn't answer.
        """

        def write(path: str) -> None:
            if self.is_local:
                write_bytes(path, content)
                return
            if self.filesystem.type_name.startswith("py::"):  # object stores need no folders, others do
                self.filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with self.filesystem.open_output_stream(path, compression=None) as stream:
                stream.write(content)

        try:
            self.ask(name, write)
        except (OSError, UnavailableError) as error:
            raise OutputError(
                f"{self.address_of(name)!r} can't be written: {one_line(error)}; check the address and its permissions"
            ) from None

    def delete(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            OutputError: the system or the storage refused.
        """
        try:
            with suppress(FileNotFoundError):
                self.ask(name, self.filesystem.delete_file)
        except (OSError, UnavailableError) as error:
            raise OutputError(
                f"{self.address_of(name)!r} can't be removed: {one_line(error)}; check its permissions"
            ) from None


def check_bytes(size: int, address: str) -> None:
    """Refuse an image file that is too large.

    Raises:
        InputError: it is.
    """
    if size > MAX_BYTES:
        raise InputError(f"{address!r} has {size} bytes, more than {MAX_BYTES}; make it smaller")


def folder_at(address: str) -> Folder:
    """The folder at an address: a path, or SCHEME://... .

    Raises:
        UsageError: the scheme is unknown, its package is missing, or the address can't be understood.
    """
    if not address or address.isspace():
        raise UsageError("the address is empty; give a folder, or s3://bucket/folder")
    if "://" in address:
        filesystem, path = _opened(address)
        return Folder(address, path, filesystem, is_local=False)
    try:
        from pyarrow.fs import LocalFileSystem
    except ModuleNotFoundError:
        raise missing_extra("PyArrow", "batch") from None
    return Folder(address, os.path.abspath(address), LocalFileSystem(), is_local=True)


@cache
def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, which may ask the storage, and what it calls the place."""
    try:
        from fsspec.core import url_to_fs
        from pyarrow import fs
        from pyarrow.lib import ArrowException
    except ModuleNotFoundError:
        raise missing_extra("PyArrow", "batch") from None
    try:
        if address.partition("://")[0] in _ARROW:
            return retried(address, lambda: fs.FileSystem.from_uri(address))
        filesystem, path = url_to_fs(address)
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
    except ImportError as error:
        raise UsageError(f"{address!r} needs a package that isn't installed: {one_line(error)}") from None
    except (ValueError, TypeError, OSError, ArrowException, UnavailableError) as error:
        raise UsageError(
            f"{address!r} can't be opened: {one_line(error)}; give a path, or an address such as s3://bucket/folder"
        ) from None


def retried(name: str, ask: Callable[[], Answer]) -> Answer:
    """What a storage answers; an answer that may be another next time is asked for again.

    Args:
        name: of what is asked for.
        ask: asks once.

    Raises:
        OSError: an answer that won't change: the file isn't there, or may not be read.
        UnavailableError: all attempts failed.
    """
    for attempt in range(ATTEMPTS):
        try:
            return ask()
        except _FINAL:
            raise
        except OSError as error:
            if "ACCESS_DENIED" in str(error):
                raise PermissionError(one_line(error)) from None
            if attempt + 1 == ATTEMPTS:
                raise UnavailableError(
                    f"{name!r} can't be reached: {one_line(error)}; run the same call again to go on"
                ) from None
        time.sleep(STORAGE_WAIT * 2**attempt * random.uniform(0.5, 1))
    raise AssertionError

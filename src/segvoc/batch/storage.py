"""Folders on disks, and on S3, GCS, Azure and HDFS by Arrow's file systems, which retry."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from segvoc.errors import OutputError, UnavailableError, UsageError, missing_extra, one_line
from segvoc.storage.atomic_writes import write_bytes

FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Permanent errors, not worth a retry."""

Unit = tuple[str, int, int]
"""A file of a folder: its relative path, size [bytes] and modification time [ns] (0 if unknown)."""


@dataclass(frozen=True)
class Folder:
    """A folder or a file; created by `folder_at`."""

    address: str
    """The address, as given."""
    path: str
    """Its path in the file system."""
    filesystem: Any = field(repr=False)
    """A `pyarrow.fs.FileSystem`."""
    is_local: bool
    """Whether it is on this machine's disks."""

    @property
    def root(self) -> str:
        """Its normalized address, with a trailing "/"."""
        return (self.path if self.is_local else self.address).rstrip("/") + "/"

    def address_of(self, name: str) -> str:
        """The address of a file."""
        return f"{self.address.rstrip('/')}/{name}"

    def path_of(self, name: str) -> str:
        """The path of a file in the file system."""
        return f"{self.path.rstrip('/')}/{name}"

    @contextmanager
    def asked(self, name: str) -> Iterator[None]:
        """Context manager for an access to a file.

        Raises:
            OSError: a permanent error; on disks, all are.
            UnavailableError: the storage doesn't respond.
        """
        try:
            yield
        except FINAL:
            raise
        except OSError as error:
            if self.is_local:
                raise
            if "ACCESS_DENIED" in str(error):
                raise PermissionError(one_line(error)) from None
            told = f"{self.address_of(name)!r} can't be reached: {one_line(error)}; run the same call again to go on"
            raise UnavailableError(told) from None

    def files(self) -> list[Unit]:
        """List the file itself, or all files below the folder, sorted by path; empty if it doesn't exist."""
        from pyarrow.fs import FileSelector, FileType

        with self.asked(""):
            infos = [self.filesystem.get_file_info(self.path)]
            if infos[0].type == FileType.Directory:
                infos = self.filesystem.get_file_info(FileSelector(self.path, recursive=True))
        start = len(self.path.rstrip("/")) + 1
        return sorted(
            (info.path[start:], int(info.size or 0), int(info.mtime_ns or 0))
            for info in infos
            if info.is_file and not info.path.endswith("/")
        )

    def open(self, name: str) -> Any:
        """Open a file for reading, inside of `asked`."""
        return self.filesystem.open_input_file(self.path_of(name))

    def read(self, name: str) -> bytes:
        """Read a file; raises the errors of `asked`."""
        with self.asked(name), self.open(name) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically, on disks and object storage; raises `OutputError`."""
        try:
            if self.is_local:
                write_bytes(self.path_of(name), content)
                return
            with self.filesystem.open_output_stream(self.path_of(name), compression=None) as stream:
                stream.write(content)
        except OSError as error:
            raise OutputError(
                f"{self.address_of(name)!r} can't be written: {one_line(error)}; check the address and its permissions"
            ) from None

    def delete(self, name: str) -> None:
        """Remove a file if it exists; raises `OutputError`."""
        try:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(self.path_of(name))
        except OSError as error:
            raise OutputError(f"{self.address_of(name)!r} can't be removed: {one_line(error)}") from None


def folder_at(address: str) -> Folder:
    """Open the folder at an address: a path, or SCHEME://... (which may access the storage).

    Raises:
        UsageError: Arrow doesn't support the scheme, the address is invalid, or PyArrow isn't installed.
    """
    if not address or address.isspace():
        raise UsageError("the address is empty; give a folder, or s3://bucket/folder")
    try:
        from pyarrow.fs import LocalFileSystem
        from pyarrow.lib import ArrowException
    except ModuleNotFoundError:
        raise missing_extra("PyArrow", "batch") from None
    if "://" not in address:
        return Folder(address, os.path.abspath(address), LocalFileSystem(), is_local=True)
    try:
        filesystem, path = _file_system(address)
    except (ArrowException, ValueError, TypeError, OSError) as error:
        raise UsageError(
            f"{address!r} can't be opened: {one_line(error)}; give a path, or an address such as s3://bucket/folder"
        ) from None
    return Folder(address, path, filesystem, is_local=isinstance(filesystem, LocalFileSystem))


@cache
def _file_system(address: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(address)

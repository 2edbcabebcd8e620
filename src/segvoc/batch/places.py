"""Folders and files wherever they are: on disks, on S3, GCS and Azure (by Arrow), and anywhere fsspec reaches.

What is transient (a storage that is busy, a connection that broke) is tried again here; what is final comes through as
`FileNotFoundError`, `PermissionError` and the like.
"""

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from segvoc.errors import OutputError, UnavailableError, UsageError, missing_extra, one_line
from segvoc.storage.atomic_writes import write_bytes

ATTEMPTS = 7
"""How often a storage is asked before it counts as unavailable, over about 15 seconds. Arrow itself asks S3 several
times with each, which makes a minute and a half."""

STORAGE_WAIT = 0.25
"""Time before the second attempt [s]; it doubles with each, with a random share, so that workers don't ask together."""

MAX_BYTES = 1 << 30
"""Most bytes of one image file."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_ARROW = frozenset(("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs"))
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ListedFile:
    """A file in a listing."""

    path: str
    """Below the listed folder, with "/"."""
    size: int
    """Bytes."""
    changed: int
    """Time of the last change [ns], 0 where the storage doesn't say."""


@dataclass(frozen=True)
class Location:
    """A folder or a file, by its address; made by `place_of`."""

    address: str
    """As it was given."""
    path: str
    """What the file system calls it."""
    filesystem: Any = field(repr=False)
    """A `pyarrow.fs.FileSystem`."""
    is_local: bool
    """Whether it is on this machine's disks."""

    def __truediv__(self, name: str) -> "Location":
        return Location(
            f"{self.address.rstrip('/')}/{name}", f"{self.path.rstrip('/')}/{name}", self.filesystem, self.is_local
        )

    @property
    def scheme(self) -> str:
        """What its address begins with; "file" for a path."""
        return _scheme(self.address)

    def _ask(self, ask: Callable[[], Answer]) -> Answer:
        return ask() if self.is_local else retried(self.address, ask)

    def kind(self) -> str:
        """What is there: "file", "folder", or "missing".

        Raises:
            UnavailableError: the storage doesn't answer.
        """
        from pyarrow.fs import FileType

        found = self._ask(lambda: self.filesystem.get_file_info(self.path)).type
        return {FileType.File: "file", FileType.Directory: "folder"}.get(found, "missing")

    def entry(self) -> ListedFile:
        """The listing of this file alone, with its name as path."""
        info = self._ask(lambda: self.filesystem.get_file_info(self.path))
        return _entry(info, self.path.rsplit("/", 1)[-1])

    def files(self) -> Iterator[ListedFile]:
        """All files below this folder, sorted by path; none if it doesn't exist.

        Raises:
            UnavailableError: the storage doesn't answer.
        """
        from pyarrow.fs import FileSelector, FileType

        base = self.path.rstrip("/") + "/"
        selector = FileSelector(self.path, recursive=True, allow_not_found=True)
        infos = self._ask(lambda: self.filesystem.get_file_info(selector))
        found = [info for info in infos if info.type == FileType.File and not info.path.endswith("/")]
        for info in sorted(found, key=lambda info: info.path):
            yield _entry(info, info.path.removeprefix("/" if base == "//" else base))

    def read(self) -> bytes:
        """The content of this file.

        Raises:
            OSError: it isn't there or may not be read.
            UnavailableError: the storage doesn't answer.
        """

        def content() -> bytes:
            with self.filesystem.open_input_stream(self.path, compression=None) as stream:
                return stream.read()

        return self._ask(content)

    def open(self) -> Any:
        """The open file, which can seek.

        Raises:
            OSError: it isn't there or may not be read.
            UnavailableError: the storage doesn't answer.
        """
        return self._ask(lambda: self.filesystem.open_input_file(self.path))

    def write(self, content: bytes) -> None:
        """Write this file as a whole: atomically on a disk, and on a storage of objects, which shows no parts.

        Raises:
            OutputError: the system or the storage refused, or didn't answer.
        """
        if self.is_local:
            write_bytes(self.path, content)
            return

        def write() -> None:
            if self.filesystem.type_name.startswith("py::"):  # object stores need no folders, others do
                self.filesystem.create_dir(self.path.rsplit("/", 1)[0], recursive=True)
            with self.filesystem.open_output_stream(self.path, compression=None) as stream:
                stream.write(content)

        try:
            self._ask(write)
        except (OSError, UnavailableError) as error:
            raise OutputError(
                f"{self.address!r} can't be written: {one_line(error)}; check the address and its permissions"
            ) from None

    def delete(self) -> None:
        """Remove this file, if it is there.

        Raises:
            OutputError: the system or the storage refused.
        """

        def delete() -> None:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(self.path)

        try:
            self._ask(delete)
        except (OSError, UnavailableError) as error:
            raise OutputError(f"{self.address!r} can't be removed: {one_line(error)}; check its permissions") from None


def place_of(address: str) -> Location:
    """The place of an address: a path, or SCHEME://... .

    Raises:
        UsageError: the scheme is unknown, its package is missing, or the address can't be understood.
    """
    if not address or address.isspace():
        raise UsageError("the address is empty; give a folder, or s3://bucket/folder")
    if _scheme(address) == "file":
        try:
            from pyarrow.fs import LocalFileSystem
        except ModuleNotFoundError:
            raise missing_extra("PyArrow", "batch") from None
        path = address[len("file://") :] if _SCHEME.match(address) else address
        return Location(address, os.path.abspath(path), LocalFileSystem(), is_local=True)
    filesystem, path = _opened(address)
    return Location(address, path, filesystem, is_local=False)


@cache
def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, which may ask the storage, and what it calls the place."""
    try:
        import fsspec
        from pyarrow import fs
        from pyarrow.lib import ArrowException
    except ModuleNotFoundError:
        raise missing_extra("PyArrow", "batch") from None
    scheme = _scheme(address)
    try:
        if scheme in _ARROW:
            address = address.replace("gcs://", "gs://", 1) if scheme == "gcs" else address
            return retried(address, lambda: fs.FileSystem.from_uri(address))
        filesystem, path = fsspec.core.url_to_fs(address)
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
    except ImportError as error:
        raise UsageError(f"{address!r} needs a package that isn't installed: {one_line(error)}") from None
    except (ValueError, TypeError, OSError, ArrowException, UnavailableError) as error:
        raise UsageError(
            f"{address!r} can't be opened: {one_line(error)}; give a path, or an address such as s3://bucket/folder"
        ) from None


def _scheme(address: str) -> str:
    found = _SCHEME.match(address)
    return found[1].lower() if found else "file"


def _entry(info: Any, path: str) -> ListedFile:
    return ListedFile(path, int(info.size or 0), int(info.mtime_ns or 0))


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
            if "ACCESS_DENIED" in str(error) or "AccessDenied" in str(error):
                raise PermissionError(one_line(error)) from None
            if attempt + 1 == ATTEMPTS:
                raise UnavailableError(
                    f"{name!r} can't be reached: {one_line(error)}; run the same call again to go on"
                ) from None
            wait(attempt)
    raise AssertionError


def wait(attempt: int) -> None:
    """Wait before the next attempt, the longer the more there were."""
    time.sleep(STORAGE_WAIT * 2**attempt * random.uniform(0.5, 1))

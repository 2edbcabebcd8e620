"""Storages: disks, S3 by boto3, and GCS, Azure and HDFS by Arrow; their clients retry.

An address is a path, or SCHEME://BUCKET/KEY, split here and taken literally: nothing in a key is an escape.
"""

import io
import os
import re
import stat
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, BinaryIO

from segvoc.errors import LongNameError, OutputError, SegvocError, UnavailableError, UsageError, naming_extra, one_line
from segvoc.storage.atomic_writes import write_atomically

PAGE = 1_000
"""Files and sub-folders that are listed at a time; S3 gives no more."""

READ_AHEAD = 8_000_000
"""Bytes of an object that are requested at a time where it isn't read as a whole."""

MOST_IN_MEMORY = 64_000_000
"""Bytes of a file for S3 beyond which it waits on a disk for its upload."""

CONNECTIONS = 64
"""Maximum number of a process's connections to S3."""

Unit = tuple[str, int, int]
"""A file of a folder: its name below it, size [bytes] and modification time [ns] (0 if unknown)."""

Page = tuple[list[Unit | str], Any]
"""Files and sub-folders (with "/" at the end), sorted by name; and the token of the next page, or None."""

FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Permanent errors, not worth a retry."""


def name_of(entry: Unit | str) -> str:
    """The name of a file or a sub-folder."""
    return entry if isinstance(entry, str) else entry[0]


def readable(name: str) -> str:
    """A name as text: bytes that aren't UTF-8, which a disk allows, are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Folder(ABC):
    """A folder; `folder_at` makes it."""

    is_local = False

    def __init__(self, address: str) -> None:
        self.address = address
        """Its address, with "/" at the end."""

    @property
    def root(self) -> str:
        """What the addresses of equal folders have in common."""
        return self.address

    def address_of(self, name: str) -> str:
        """The address of a file, for messages and results."""
        return readable(f"{self.address}{name}")

    @abstractmethod
    def page(self, folder: str, token: Any = None) -> Page:
        """List a sub-folder ("" or "name/"), inside of `access`; the token is that of the page before."""

    @abstractmethod
    def unit(self, name: str) -> Unit | None:
        """A file, inside of `access`; None if it isn't there, or is a folder."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file for reading in parts, inside of `access`."""

    def content(self, name: str) -> bytes:
        """Read a file, inside of `access`."""
        with self.open(name) as file:
            return file.read()

    @abstractmethod
    def store(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write a file atomically; raises the storage's errors."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file if it exists; raises the storage's errors."""

    @property
    @abstractmethod
    def errors(self) -> tuple[type[Exception], ...]:
        """The kinds of errors that the storage raises."""

    @abstractmethod
    def as_os_error(self, error: Exception) -> OSError | None:
        """An error of the storage that is permanent, as an `OSError`; None if it may pass."""

    @contextmanager
    def access(self, name: str) -> Iterator[None]:
        """Around an access to a file: permanent errors are `OSError`, others `UnavailableError`."""
        try:
            yield
        except self.errors as error:
            if permanent := self.as_os_error(error):
                raise permanent from None
            problem = f"{self.address_of(name)!r} can't be reached: {one_line(error)}"
            raise UnavailableError(f"{problem}; run the same call again to go on") from None

    def read(self, name: str) -> bytes:
        """Read a file; raises the errors of `access`."""
        with self.access(name):
            return self.content(name)

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically; raises `OutputError`."""
        self.save(name, lambda file: file.write(content))

    def save(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        """Write a file atomically, by a function; raises `OutputError`."""
        try:
            self.store(name, write)
        except SegvocError:
            raise
        except Exception as error:
            kind = LongNameError if "KeyTooLong" in str(error) else OutputError
            fix = "give the input a shorter name" if kind is LongNameError else "check the address and its permissions"
            raise kind(f"{self.address_of(name)!r} can't be written: {one_line(error)}; {fix}") from None

    def delete(self, name: str) -> None:
        """Remove a file if it exists; raises `OutputError`."""
        try:
            with suppress(FileNotFoundError):
                self.remove(name)
        except Exception as error:
            raise OutputError(f"{self.address_of(name)!r} can't be removed: {one_line(error)}") from None

    def units(self, folder: str) -> Iterator[Unit]:
        """The files directly in a sub-folder ("" or "name/"); none if it doesn't exist."""
        token: Any = None
        while True:
            try:
                with self.access(folder):
                    entries, token = self.page(folder, token)
            except FileNotFoundError:
                return
            yield from (entry for entry in entries if not isinstance(entry, str))
            if token is None:
                return


class _DiskFolder(Folder):
    """A folder on a disk. It is listed as a whole, and the files' sizes page by page."""

    is_local = True

    def __init__(self, path: str) -> None:
        super().__init__(path.rstrip("/") + "/")
        self.path = os.path.abspath(path)

    @property
    def root(self) -> str:
        return self.path.rstrip("/") + "/"

    def _path_of(self, name: str) -> str:
        return f"{self.root}{name}"

    def page(self, folder: str, token: Any = None) -> Page:
        names, start = token or (self._names(folder), 0)
        listed = [name if name.endswith("/") else self._stated(name) for name in names[start : start + PAGE]]
        end = start + PAGE
        return [entry for entry in listed if entry is not None], (names, end) if end < len(names) else None

    def _names(self, folder: str) -> list[str]:
        place = os.path.realpath(self._path_of(folder)) + "/"
        with os.scandir(self._path_of(folder)) as entries:
            return sorted(
                f"{folder}{entry.name}/" if entry.is_dir() else f"{folder}{entry.name}"
                for entry in entries
                # a link to a folder that it is in would never end
                if not (entry.is_symlink() and place.startswith(os.path.realpath(entry.path) + "/"))
            )

    def _stated(self, name: str) -> Unit | None:
        try:
            status = os.stat(self._path_of(name))
        except OSError:  # a link to nowhere; reading it says so
            return name, 0, 0
        return (name, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None

    def unit(self, name: str) -> Unit | None:
        return self._stated(name) if os.path.isfile(self._path_of(name)) else None

    def open(self, name: str) -> BinaryIO:
        return open(self._path_of(name), "rb")

    def store(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        write_atomically(self._path_of(name), write)

    def remove(self, name: str) -> None:
        os.remove(self._path_of(name))

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (OSError,)

    def as_os_error(self, error: Exception) -> OSError | None:
        return error if isinstance(error, OSError) else None


class _S3Folder(Folder):
    """A prefix of a bucket on S3; any key works, and a page is a request."""

    def __init__(self, bucket: str, prefix: str) -> None:
        super().__init__(f"s3://{bucket}/{prefix}")
        self.bucket, self.prefix, self.client = bucket, prefix, _s3_client()

    def page(self, folder: str, token: Any = None) -> Page:
        more = {} if token is None else {"ContinuationToken": token}
        found = self.client.list_objects_v2(
            Bucket=self.bucket, Prefix=f"{self.prefix}{folder}", Delimiter="/", MaxKeys=PAGE, **more
        )
        start = len(self.prefix)
        entries: list[Unit | str] = [one["Prefix"][start:] for one in found.get("CommonPrefixes", ())]
        entries += [
            (one["Key"][start:], one["Size"], int(one["LastModified"].timestamp()) * 10**9)
            for one in found.get("Contents", ())
            if not one["Key"].endswith("/")  # stands for a folder
        ]
        return sorted(entries, key=name_of), found.get("NextContinuationToken")

    def unit(self, name: str) -> Unit | None:
        try:
            head = self.client.head_object(Bucket=self.bucket, Key=f"{self.prefix}{name}")
        except Exception as error:
            if isinstance(self.as_os_error(error), FileNotFoundError):
                return None
            raise
        return name, head["ContentLength"], int(head["LastModified"].timestamp()) * 10**9

    def content(self, name: str) -> bytes:
        return self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}{name}")["Body"].read()

    def open(self, name: str) -> BinaryIO:
        # an open connection would be closed while images are labeled
        return io.BufferedReader(_S3File(self, f"{self.prefix}{name}"), READ_AHEAD)

    def store(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        with tempfile.SpooledTemporaryFile(MOST_IN_MEMORY) as file:
            write(file)  # type: ignore[arg-type]
            size, key = file.tell(), f"{self.prefix}{name}"
            file.seek(0)
            if size < READ_AHEAD:
                self.client.put_object(Bucket=self.bucket, Key=key, Body=file)
            else:
                self.client.upload_fileobj(file, self.bucket, key)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}{name}")

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        return (BotoCoreError, ClientError, Boto3Error, OSError)

    def as_os_error(self, error: Exception) -> OSError | None:
        from botocore import exceptions

        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return PermissionError("no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
        if isinstance(error, exceptions.ParamValidationError):
            return OSError(one_line(error))
        if not isinstance(error, exceptions.ClientError):  # its timeouts are OSErrors, too
            return error if isinstance(error, FINAL) else None
        code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        kinds = {404: FileNotFoundError, 403: PermissionError if code != "InvalidObjectState" else OSError}
        is_final = 400 <= status < 500 and status not in (408, 429) and code != "RequestTimeout"
        return kinds.get(status, OSError)(one_line(error)) if is_final else None


class _S3File(io.RawIOBase):
    """An object that is read by ranges."""

    def __init__(self, folder: _S3Folder, key: str) -> None:
        self._folder, self._where, self._at = folder, {"Bucket": folder.bucket, "Key": key}, 0
        self._size: int = folder.client.head_object(**self._where)["ContentLength"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        found = self._folder.client.get_object(**self._where, Range=f"bytes={self._at}-{end - 1}")["Body"].read()
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def readall(self) -> bytes:
        """The rest, by one request: the base class makes one for each 8 KB."""
        return self.read(max(0, self._size - self._at)) or b""


class _ArrowFolder(Folder):
    """A folder on GCS, Azure or HDFS, which Arrow lists as a whole."""

    def __init__(self, address: str, filesystem: Any, path: str) -> None:
        super().__init__(address)
        self.filesystem, self.path = filesystem, path

    def page(self, folder: str, token: Any = None) -> Page:
        entries, start = token or (self._entries(folder), 0)
        end = start + PAGE
        return entries[start:end], (entries, end) if end < len(entries) else None

    def _entries(self, folder: str) -> list[Unit | str]:
        from pyarrow.fs import FileSelector, FileType

        found: list[Unit | str] = []
        for info in self.filesystem.get_file_info(FileSelector(f"{self.path}{folder}".rstrip("/"))):
            name = f"{folder}{info.base_name}"
            is_folder = info.type == FileType.Directory
            found.append(f"{name}/" if is_folder else (name, int(info.size or 0), int(info.mtime_ns or 0)))
        return sorted(found, key=name_of)

    def unit(self, name: str) -> Unit | None:
        info = self.filesystem.get_file_info(f"{self.path}{name}")
        return (name, int(info.size or 0), int(info.mtime_ns or 0)) if info.is_file else None

    def open(self, name: str) -> BinaryIO:
        return self.filesystem.open_input_file(f"{self.path}{name}")

    def store(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        with self.filesystem.open_output_stream(f"{self.path}{name}", compression=None) as stream:
            write(stream)

    def remove(self, name: str) -> None:
        self.filesystem.delete_file(f"{self.path}{name}")

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        from pyarrow.lib import ArrowException

        return (OSError, ArrowException)

    def as_os_error(self, error: Exception) -> OSError | None:
        if "ACCESS_DENIED" in str(error):
            return PermissionError(one_line(error))
        if not isinstance(error, OSError):  # Arrow can't have such a path
            return OSError(one_line(error))
        return error if isinstance(error, FINAL) else None


ARROW_SCHEMES = ("gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")


def folder_at(address: str) -> Folder:
    """The folder at an address, a path or SCHEME://BUCKET/KEY; `UsageError` if there can't be one."""
    if not address or address.isspace():
        raise UsageError("the address is empty; give a folder, or s3://bucket/folder")
    split = re.fullmatch(r"([a-zA-Z][a-zA-Z0-9+.-]*)://([^/]*)/?(.*)", address, re.DOTALL)
    if split is None:
        return _DiskFolder(address)
    scheme, bucket, key = split.groups()
    scheme = scheme.lower()
    prefix = f"{key}/" if key and not key.endswith("/") else key
    example = "give a path, or an address such as s3://bucket/folder"
    if scheme == "file":
        return _DiskFolder(address.partition("://")[2])
    if not bucket and scheme not in ("hdfs", "viewfs"):
        raise UsageError(f"{address!r} has no bucket; {example}")
    try:
        if scheme == "s3":
            with naming_extra("boto3", "batch", ("boto3", "botocore")):
                return _S3Folder(bucket, prefix)
        if scheme in ARROW_SCHEMES:
            filesystem, base = _arrow_file_system(f"{scheme}://{bucket}/")
            base = f"{base.rstrip('/')}/" if base else ""
            return _ArrowFolder(f"{scheme}://{bucket}/{prefix}", filesystem, f"{base}{prefix}")
    except SegvocError:
        raise
    except Exception as error:
        raise UsageError(f"{address!r} can't be opened: {one_line(error)}; {example}") from None
    known = ", ".join(f"{name}://" for name in ("s3", *ARROW_SCHEMES))
    raise UsageError(f"{address!r} can't be opened: there are {known} and paths; {example}")


def parent_and_name(address: str) -> tuple[str, str]:
    """The address of the folder of a file, and the file's name; "" for a bucket, and for what ends in "/"."""
    bucket = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^/]*/?", address)
    start = 0 if bucket is None else bucket.end()
    folder, slash, name = address[start:].rpartition("/")
    return f"{address[:start]}{folder}{slash}" or ".", name


@cache
def _s3_client() -> Any:
    import boto3
    from botocore.config import Config

    settings: Any = {
        "retries": {"mode": "standard", "total_max_attempts": 5},
        "max_pool_connections": CONNECTIONS,
        # other servers don't know all checksums of Amazon's
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    return boto3.client("s3", config=Config(**settings))


@cache
def _arrow_file_system(address: str) -> tuple[Any, str]:
    with naming_extra("PyArrow", "batch"):
        from pyarrow.fs import FileSystem
    return FileSystem.from_uri(address)

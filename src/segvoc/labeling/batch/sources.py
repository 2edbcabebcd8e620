"""Sources: folders of images, WebDataset tars, and Parquet files with the bytes of images.

They are on disks, or on S3, GCS, Azure and HDFS by Arrow's file systems, which retry.

A source is split into shards: some images of a folder, a tar, or a Parquet file. A single worker reads, labels and
writes a whole shard.
"""

import os
import tarfile
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, Literal

from segvoc.errors import InputError, OutputError, UnavailableError, UsageError, naming_extra, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.result_paths import distinct_stems, equal_names
from segvoc.storage.atomic_writes import write_bytes
from segvoc.storage.files import digest_of
from segvoc.vocabulary import folded

STORAGE_THREADS = 16
"""Number of threads that read images of a folder; they mostly wait for I/O."""

SHARD_BYTES = 32_000_000
"""Target size of a folder's shards [bytes]; a larger image is a separate shard."""

SourceKind = Literal["images", "tars", "Parquet files"]

_SUFFIXES: Mapping[SourceKind, tuple[str, ...]] = {
    "images": tuple(sorted(IMAGE_SUFFIXES)),
    "tars": (".tar", ".tar.gz", ".tgz"),
    "Parquet files": (".parquet", ".pq"),
}
_ROWS_AT_ONCE = 16

FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Permanent errors, not worth a retry."""

Unit = tuple[str, int, int]
"""A file of a folder: its relative path, size [bytes] and modification time [ns] (0 if unknown)."""


@dataclass(frozen=True)
class Folder:
    """A folder or a file; created by `folder_at`."""

    address: str
    path: str
    filesystem: Any = field(repr=False)
    """A `pyarrow.fs.FileSystem`."""
    is_local: bool

    @property
    def root(self) -> str:
        """Its normalized address, with a trailing "/"."""
        return (self.path if self.is_local else self.address).rstrip("/") + "/"

    def address_of(self, name: str) -> str:
        """The address of a file."""
        return f"{self.address.rstrip('/')}/{name}"

    def _path_of(self, name: str) -> str:
        return f"{self.path.rstrip('/')}/{name}"

    @contextmanager
    def access(self, name: str) -> Iterator[None]:
        """Around an access to a file: permanent errors (on disks, all) are `OSError`, others `UnavailableError`."""
        try:
            yield
        except FINAL:
            raise
        except OSError as error:
            if self.is_local:
                raise
            if "ACCESS_DENIED" in str(error):
                raise PermissionError(one_line(error)) from None
            message = f"{self.address_of(name)!r} can't be reached: {one_line(error)}; run the same call again to go on"
            raise UnavailableError(message) from None

    def files(self) -> list[Unit]:
        """List the file itself, or all files below the folder, sorted by path; empty if it doesn't exist."""
        from pyarrow.fs import FileSelector, FileType

        with self.access(""):
            infos = [self.filesystem.get_file_info(self.path)]
            if infos[0].type == FileType.Directory:
                infos = self.filesystem.get_file_info(FileSelector(self.path, recursive=True))
        start = len(self.path.rstrip("/")) + 1
        files = ((_path_in(info), info) for info in infos if info.is_file)
        return sorted(
            (path[start:], int(info.size or 0), int(info.mtime_ns or 0)) for path, info in files if path[-1] != "/"
        )

    def open(self, name: str) -> Any:
        """Open a file for reading, inside of `access`."""
        return self.filesystem.open_input_file(self._path_of(name))

    def read(self, name: str) -> bytes:
        """Read a file; raises the errors of `access`."""
        with self.access(name), self.open(name) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically, on disks and object storage; raises `OutputError`."""
        try:
            if self.is_local:
                write_bytes(self._path_of(name), content)
                return
            with self.filesystem.open_output_stream(self._path_of(name), compression=None) as stream:
                stream.write(content)
        except OSError as error:
            raise OutputError(
                f"{self.address_of(name)!r} can't be written: {one_line(error)}; check the address and its permissions"
            ) from None

    def delete(self, name: str) -> None:
        """Remove a file if it exists; raises `OutputError`."""
        try:
            with suppress(FileNotFoundError):
                self.filesystem.delete_file(self._path_of(name))
        except OSError as error:
            raise OutputError(f"{self.address_of(name)!r} can't be removed: {one_line(error)}") from None


def _path_in(info: Any) -> str:
    """The path of a `pyarrow.fs.FileInfo`; escaped if it isn't UTF-8, which no file has, so that it can't be read."""
    try:
        return info.path
    except UnicodeDecodeError as error:
        return bytes(error.object).decode(errors="backslashreplace")


def folder_at(address: str) -> Folder:
    """The folder at an address, a path or SCHEME://... (which may access the storage); `UsageError` if invalid."""
    if not address or address.isspace():
        raise UsageError("the address is empty; give a folder, or s3://bucket/folder")
    with naming_extra("PyArrow", "batch"):
        from pyarrow.fs import LocalFileSystem
        from pyarrow.lib import ArrowException
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


@dataclass(frozen=True, kw_only=True)
class BatchImage:
    """An image: its file, or why it can't be read."""

    key: str
    address: str
    """Its address, for messages and reports."""
    stem: str
    """Name of its results, for results in files."""
    content: bytes = b""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class BatchSource:
    """The files of a source, or of a shard of it, the unit of reading, labeling and writing."""

    address: str
    """Address of the folder, or of a single file's folder."""
    kind: SourceKind
    units: tuple[Unit, ...]
    """Its files, sorted by path."""
    stems: tuple[str, ...]
    """The names of their results: without suffix, unless two of the whole source would collide."""
    column: str | None = None
    """Parquet: the column with the images. Tars: the suffix of the images; None: any image suffix."""

    @property
    def folder(self) -> Folder:
        """The folder of its files."""
        return folder_at(self.address)

    @property
    def key(self) -> str:
        """The key of a shard, the same in every run."""
        return digest_of(self.units)

    def read(self) -> Iterator[BatchImage]:
        """Yield the images of a shard in order, including unreadable images with their problems."""
        readers = {"images": _images, "tars": _samples, "Parquet files": _rows}
        yield from readers[self.kind](self)

    def shards(self, done: Collection[Unit], most: int) -> Iterator["BatchSource"]:
        """Split the remaining files into shards: at most `most` images each, or a single tar or Parquet file."""
        most, group, size = (most if self.kind == "images" else 1), list[tuple[Unit, str]](), 0

        def shard() -> BatchSource:
            units, stems = zip(*group, strict=True)
            return replace(self, units=units, stems=stems)

        for unit, stem in zip(self.units, self.stems, strict=True):
            if unit in done:
                continue
            if group and (len(group) == most or size + unit[1] > SHARD_BYTES):
                yield shard()
                group, size = [], 0
            group.append((unit, stem))
            size += unit[1]
        if group:
            yield shard()


def find_source(address: str, *, column: str | None = None, skip: str = "") -> BatchSource:
    """List the files of a source, and detect their kind.

    Skips hidden files and folders (.name), internal ones of tables (_name), and results, whose root is `skip`. Raises a
    `UsageError` if it doesn't exist, has nothing to label, mixes kinds, or lacks the column.
    """
    place = folder_at(address)
    units = place.files()
    if not units:
        raise UsageError(f"the source {address!r} does not exist or is empty; check the address")
    if [path for path, _, _ in units] == [""]:  # it is a file
        folder, slash, name = address.rpartition("/")
        address, units = folder or slash or ".", [(name, *units[0][1:])]
    sources = [unit for unit in units if not (place.root + unit[0]).startswith(skip or "\0")]
    kinds = dict[SourceKind, tuple[Unit, ...]]()
    for kind, suffixes in _SUFFIXES.items():
        # cameras name photos _DSC0001.jpg
        left_out = ("/.", "/_") if kind == "Parquet files" else ("/.",)
        shown = (unit for unit in sources if not any(mark in f"/{unit[0]}" for mark in left_out))
        if files := tuple(unit for unit in shown if unit[0].lower().endswith(suffixes)):
            kinds[kind] = files
    if len(kinds) != 1:
        content = " and ".join(f"{len(files)} {kind}" for kind, files in kinds.items())
        content = content or "no images (.jpg, .png, ...), tars or Parquet files"
        raise UsageError(f"the source {place.address!r} has {content}; give a folder of one kind, or one file")
    ((kind, units),) = kinds.items()
    if kind == "images" and column is not None:
        raise UsageError("a folder of images has no columns; leave out --image-column")
    source = BatchSource(address=address, kind=kind, units=units, stems=_stems(units), column=column)
    return replace(source, column=_image_column(source)) if kind == "Parquet files" else source


def _stems(units: tuple[Unit, ...]) -> tuple[str, ...]:
    suffixes = (*_SUFFIXES["tars"], *_SUFFIXES["Parquet files"])
    plain = []
    for path, _, _ in units:
        suffix = next((known for known in suffixes if path.lower().endswith(known)), PurePosixPath(path).suffix)
        plain.append(path[: len(path) - len(suffix)])
    paths = [path for path, _, _ in units]
    return tuple(distinct_stems(plain, paths, lambda stems: equal_names([folded(stem) for stem in stems])))


def _images(shard: BatchSource) -> Iterator[BatchImage]:
    folder = shard.folder

    def fetched(unit: Unit, stem: str) -> BatchImage:
        image = BatchImage(key=unit[0], address=folder.address_of(unit[0]), stem=stem)
        try:
            return replace(image, content=folder.read(unit[0]))
        except OSError as error:
            return replace(image, problem=f"{image.address!r} can't be read: {one_line(error)}; check the file")

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        yield from pool.map(fetched, shard.units, shard.stems)


def _samples(shard: BatchSource) -> Iterator[BatchImage]:
    """The samples of a tar: consecutive members with the same name up to the first dot."""
    ((path, _, _),), (base,), count = shard.units, shard.stems, 0
    folder, column, stems = shard.folder, shard.column, {"damaged"}
    address = folder.address_of(path)
    wanted = IMAGE_SUFFIXES if column is None else {f".{column.lstrip('.').lower()}"}
    try:
        with folder.access(path), tarfile.open(fileobj=folder.open(path), mode="r|*") as tar:
            for key, members in groupby(filter(tarfile.TarInfo.isfile, tar), lambda member: _split(member.name)[0]):
                stem = _safe(key)
                while folded(stem) in stems:  # another key with the same path, such as ./b after b
                    stem = f"{stem}.{count}"
                stems.add(folded(stem))
                image = BatchImage(key=key, address=f"{address}#{key}", stem=f"{base}/{stem}")
                problem = f"{image.address!r} has no {column or 'image'} file; check the sample"
                for member in members:
                    if problem and _split(member.name)[1].lower() in wanted:
                        file, problem, name = tar.extractfile(member), None, f"{address}#{member.name}"
                        image = replace(image, address=name, content=b"" if file is None else file.read())
                count += 1
                yield replace(image, problem=problem)
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        name = f"{address}#{count}"
        problem = f"{address!r} is damaged after {count} samples ({one_line(error)}); copy it again"
        yield BatchImage(key=name, address=name, stem=f"{base}/damaged", problem=problem)


def _split(member: str) -> tuple[str, str]:
    """The key of a tar's member, and its suffix."""
    folder, slash, file = member.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{suffix}"


def _safe(key: str) -> str:
    """Convert a key to a safe file path: no part is hidden or escapes the folder."""
    parts = [part for part in key.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(part if not part.startswith(".") else f"_{part}" for part in parts) or "_"


def _image_column(source: BatchSource) -> str:
    """Detect the column with the images from the first readable file; all files need it."""
    for path, _, _ in source.units:
        try:
            schema = _parquet(source.folder, path).schema_arrow
        except InputError:
            continue
        names = [entry.name for entry in schema if _is_bytes(entry.type)]
        if source.column in names or (source.column is None and len(names) == 1):
            return source.column or names[0]
        content = f"columns with files: {', '.join(names)}" if names else "no column with the bytes of image files"
        raise UsageError(f"{path!r} has {content}; name the column of the images: --image-column NAME")
    raise UsageError(f"none of the Parquet files of {source.address!r} can be read; write them again")


def _is_bytes(kind: Any) -> bool:
    """Whether a column holds files: bytes, or Hugging Face datasets' structs of bytes and paths."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(entry.name == "bytes" and _is_bytes(entry.type) for entry in kind)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _parquet(folder: Folder, path: str) -> Any:
    from pyarrow.lib import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with folder.access(path):
            return ParquetFile(folder.open(path))
    except (ArrowInvalid, OSError) as error:
        raise InputError(f"not a readable Parquet file ({one_line(error)})") from None


def _rows(shard: BatchSource) -> Iterator[BatchImage]:
    from pyarrow.lib import ArrowException

    ((path, _, _),), (base,), row = shard.units, shard.stems, 0
    folder, column = shard.folder, shard.column

    def image(content: bytes | None, problem: str | None = None) -> BatchImage:
        key = f"{path}#{row}"
        address = folder.address_of(key)
        if not content and problem is None:
            problem = f"{address!r} is empty; leave out the row, or fill it"
        return BatchImage(key=key, address=address, stem=f"{base}/{row:09}", content=content or b"", problem=problem)

    try:
        file = _parquet(folder, path)
        if not any(entry.name == column and _is_bytes(entry.type) for entry in file.schema_arrow):
            raise InputError(f"no column {column!r} with bytes")
        with folder.access(path):
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[column]):
                for value in batch.column(column).to_pylist():
                    yield image(value.get("bytes") if isinstance(value, dict) else value)
                    row += 1
    except (ArrowException, InputError, OSError) as error:
        address = folder.address_of(path)
        yield image(None, f"{address!r} is damaged from row {row} on ({one_line(error)}); write it again")

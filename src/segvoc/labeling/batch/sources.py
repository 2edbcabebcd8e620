"""Reading shards: images of a folder, WebDataset tars, and Parquet files with the bytes of images.

A shard is some images of a folder, a tar, or a Parquet file; one worker reads, labels and writes it.
"""

import tarfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.result_paths import distinct_stems, equal_names
from segvoc.labeling.batch.listing import SUFFIXES_OF_KINDS, Source, SourceKind
from segvoc.labeling.batch.storages import Folder, Page, Unit, folder_at, readable
from segvoc.storage.files import digest_of, is_hidden
from segvoc.vocabulary.names import folded

STORAGE_THREADS = 16
"""Number of threads that read images of a folder; they mostly wait for I/O."""

_ROWS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class BatchImage:
    """An image: its file, or why it can't be read."""

    unit: int
    """Index of its file in the shard."""
    key: str
    address: str
    """Its address, for messages and reports."""
    stem: str
    """Name of its results, for results in files."""
    content: bytes = b""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Shard:
    """Some files of a source, the unit of reading and labeling."""

    address: str
    """Address of the source's folder."""
    kind: SourceKind
    column: str | None
    units: tuple[Unit, ...]
    """Its files, in the order of their names."""
    stems: tuple[str, ...]
    """The names of their results, for results in files."""
    table: str
    """Name of its table in the folder of the results, for results in Parquet."""
    is_written: bool = False
    """Whether an earlier run has written the table."""

    @property
    def folder(self) -> Folder:
        """The folder of its files."""
        return folder_at(self.address)

    def read(self) -> Iterator[BatchImage]:
        """Yield the images in order, including unreadable images with their problems."""
        readers: Mapping[SourceKind, Callable[[Shard], Iterator[BatchImage]]] = {
            "images": _images,
            "tars": _samples,
            "Parquet files": _rows,
        }
        yield from readers[self.kind](self)


def stem_of(name: str, *, whole: bool = False) -> str:
    """The name of a file's results: without its suffix, unless the `whole` name is needed.

    What would lead out of the folder of the results, as keys on object storage may, is left out, and a digest added.
    """
    name = readable(name)
    if not whole:
        suffixes = (*SUFFIXES_OF_KINDS["tars"], *SUFFIXES_OF_KINDS["Parquet files"])
        suffix = next((known for known in suffixes if name.lower().endswith(known)), PurePosixPath(name).suffix)
        name = name[: len(name) - len(suffix)]
    parts = name.split("/")
    return f"{_safe(name)}.{digest_of(name)[:8]}" if {"", ".", ".."}.intersection(parts) else name


class UniqueStems:
    """Lists the sub-folders of a folder as wholes, so that the names of results are unique in each."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self._longer = folder, set[str]()

    def page(self, folder: str, token: Any = None) -> Page:
        """List a whole sub-folder, as `Folder.page` lists a part of it."""
        entries = list[Unit | str]()
        while True:
            some, token = self.folder.page(folder, token)
            entries += some
            if token is None:
                break
        names = [entry[0] for entry in entries if not isinstance(entry, str)]
        short = [stem_of(name) for name in names]
        stems = distinct_stems(short, names, lambda stems: equal_names([folded(stem) for stem in stems]))
        self._longer |= {name for name, stem, plain in zip(names, stems, short, strict=True) if stem != plain}
        return entries, None

    def stem_of(self, name: str) -> str:
        """The name of a listed file's results."""
        return stem_of(name, whole=name in self._longer)


def _images(shard: Shard) -> Iterator[BatchImage]:
    folder = shard.folder

    def fetched(place: int, unit: Unit, stem: str) -> BatchImage:
        image = BatchImage(unit=place, key=readable(unit[0]), address=folder.address_of(unit[0]), stem=stem)
        try:
            return replace(image, content=folder.read(unit[0]))
        except (OSError, ValueError) as error:
            return replace(image, problem=f"{image.address!r} can't be read: {one_line(error)}; check the file")

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        yield from pool.map(fetched, range(len(shard.units)), shard.units, shard.stems)


def _samples(shard: Shard) -> Iterator[BatchImage]:
    """The samples of a tar: consecutive members with the same name up to the first dot."""
    ((path, _, _),), (base,), count = shard.units, shard.stems, 0
    folder, column, stems = shard.folder, shard.column, {"damaged"}
    address = folder.address_of(path)
    wanted = IMAGE_SUFFIXES if column is None else {f".{column.lstrip('.').lower()}"}
    try:
        with folder.access(path), folder.open(path) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            visible = (member for member in tar if member.isfile() and not any(map(is_hidden, _parts(member.name))))
            for key, members in groupby(visible, lambda member: _split(member.name)[0]):
                key = readable(key)
                stem = _safe(key)
                is_torn = folded(stem) in stems
                while folded(stem) in stems:  # another key with the same path, such as ./b after b
                    stem = f"{stem}.{count}"
                stems.add(folded(stem))
                image = BatchImage(unit=0, key=key, address=f"{address}#{key}", stem=f"{base}/{stem}")
                problem = f"{image.address!r} has no {column or 'image'} file; check the sample"
                if is_torn:
                    problem = f"the files of {image.address!r} aren't consecutive; sort the tar's files by name"
                for member in members:
                    if problem and column is None and _split(member.name)[1].lower().endswith(tuple(wanted)):
                        dots = f"but {readable(member.name)!r}, whose key ends at the first dot"
                        fix = "rename it, or name the column: --image-column NAME"
                        problem = f"{image.address!r} has no image file {dots}; {fix}"
                    if problem and _split(member.name)[1].lower() in wanted:
                        content, problem, name = tar.extractfile(member), None, f"{address}#{readable(member.name)}"
                        image = replace(image, address=name, content=b"" if content is None else content.read())
                count += 1
                yield replace(image, problem=problem)
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        name = f"{address}#{count}"
        problem = f"{address!r} is damaged after {count} samples ({one_line(error)}); copy it again"
        yield BatchImage(unit=0, key=name, address=name, stem=f"{base}/damaged", problem=problem)


def _split(member: str) -> tuple[str, str]:
    """The key of a tar's member, and its suffix."""
    folder, slash, file = member.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return f"{folder}{slash}{stem}", f"{dot}{suffix}"


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".", "..")]


def _safe(key: str) -> str:
    """Convert a key to a safe file path: no part is hidden or escapes the folder."""
    parts = _parts(key.replace("\\", "/"))
    return "/".join(part if not part.startswith(".") else f"_{part}" for part in parts) or "_"


def with_image_column(source: Source) -> Source:
    """A source of Parquet files with the column of the images, by the first readable file; all files need it."""
    for path, _, _ in source.units(lambda _: None):
        try:
            with source.folder.access(path), source.folder.open(path) as file:
                schema = _parquet(file).schema_arrow
        except (InputError, OSError):
            continue
        names = [entry.name for entry in schema if _is_bytes(entry.type)]
        if source.column in names or (source.column is None and len(names) == 1):
            return replace(source, column=source.column or names[0])
        content = f"columns with files: {', '.join(names)}" if names else "no column with the bytes of image files"
        raise UsageError(f"{readable(path)!r} has {content}; name the column of the images: --image-column NAME")
    raise UsageError(f"none of the Parquet files of {source.address!r} can be read; write them again")


def _is_bytes(kind: Any) -> bool:
    """Whether a column holds files: bytes, or Hugging Face datasets' structs of bytes and paths."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(entry.name == "bytes" and _is_bytes(entry.type) for entry in kind)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _parquet(file: BinaryIO) -> Any:
    from pyarrow.lib import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(file)
    except ArrowInvalid as error:
        raise InputError(f"not a readable Parquet file ({one_line(error)})") from None


def _rows(shard: Shard) -> Iterator[BatchImage]:
    from pyarrow.lib import ArrowException

    ((path, _, _),), (base,), row = shard.units, shard.stems, 0
    folder, column = shard.folder, shard.column

    def image(content: bytes | None, problem: str | None = None) -> BatchImage:
        key, address = readable(f"{path}#{row}"), folder.address_of(f"{path}#{row}")
        if not content and problem is None:
            problem = f"{address!r} is empty; leave out the row, or fill it"
        stem = f"{base}/{row:09}"
        return BatchImage(unit=0, key=key, address=address, stem=stem, content=content or b"", problem=problem)

    try:
        with folder.access(path), folder.open(path) as file:
            parquet = _parquet(file)
            if not any(entry.name == column and _is_bytes(entry.type) for entry in parquet.schema_arrow):
                raise InputError(f"no column {column!r} with bytes")
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=[column]):
                for value in batch.column(column).to_pylist():
                    yield image(value.get("bytes") if isinstance(value, dict) else value)
                    row += 1
    except (ArrowException, InputError, OSError) as error:
        address = folder.address_of(path)
        yield image(None, f"{address!r} is damaged from row {row} on ({one_line(error)}); write it again")

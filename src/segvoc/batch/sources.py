"""Sources: folders of images, WebDataset tars, and Parquet files with the bytes of images.

A source is cut into tasks, and what a task reads into shards. A task is what is read at once: some images of a folder,
one tar, or one Parquet file. A shard is what is labeled and written as a whole. Where shards begin and end depends on
the source and the number of images in one alone, so each has a key that is the same in every run.
"""

import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from segvoc.batch.storage import STORAGE_THREADS, Folder, Unit, check_bytes, folder_at
from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.storage.files import digest_of

SHARD_BYTES = 32_000_000
"""Bytes from which on a shard takes no more images; a larger image is a shard of its own."""

SourceKind = Literal["images", "webdataset", "parquet"]
"""What a source is made of."""

_SUFFIXES: Mapping[SourceKind, tuple[str, ...]] = {
    "images": tuple(sorted(IMAGE_SUFFIXES)),
    "webdataset": (".tar", ".tar.gz", ".tgz"),
    "parquet": (".parquet", ".pq"),
}
_NAMES: Mapping[SourceKind, str] = {"images": "images", "webdataset": "tars", "parquet": "Parquet files"}
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class BatchSource:
    """A source, as it was found."""

    address: str
    """Where it is; of a single file, the folder that it is in."""
    kind: SourceKind
    units: tuple[Unit, ...]
    """Its files, sorted by path."""
    column: str | None = None
    """Of Parquet: the column with the images. Of tars: the suffix of the images, None for any image's."""

    @property
    def folder(self) -> Folder:
        """Where its files are."""
        return folder_at(self.address)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is read at once."""

    units: tuple[Unit, ...]
    """Some images, or one tar or Parquet file."""
    stems: tuple[str, ...] = ()
    """The names of the images' results, for a folder of images."""
    skip: frozenset[int] = field(default=frozenset())
    """Numbers of its shards that were done before."""


@dataclass(frozen=True, kw_only=True)
class BatchImage:
    """An image of a shard: its file, or why there is none."""

    key: str
    """Names it among the results."""
    address: str
    """Where it is, for people and reports."""
    stem: str
    """Name of its results, for results in files."""
    content: bytes = b""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What is labeled and written as a whole."""

    units: tuple[Unit, ...]
    """The files that it was read from."""
    number: int
    """Its number in there, from 0."""
    last: bool
    """Whether it is the last one in there."""
    images: tuple[BatchImage, ...]
    """Its images, in the order of the source."""

    @property
    def key(self) -> str:
        """Its key, the same in every run."""
        return digest_of(self.units, self.number)


# ---- finding


def find_source(
    address: str,
    *,
    kind: SourceKind | None = None,
    column: str | None = None,
    skip: str = "",
) -> BatchSource:
    """List the files of a source, and find out what they are.

    Hidden files and folders (.name) and those of programs (_name) are left out.

    Args:
        address: a folder or a file, anywhere.
        kind: what it is made of (default: found by the files' suffixes).
        column: of Parquet, the column with the images; of tars, the suffix of the images ("jpg").
        skip: the root of the results, which are left out.

    Raises:
        UsageError: it doesn't exist, has nothing to label, or isn't of one kind; or a column isn't there.
        UnavailableError: the storage doesn't answer.
    """
    place = folder_at(address)
    info = place.info()
    if info.type.name == "NotFound":
        raise UsageError(f"the source {address!r} does not exist; check the address")
    if info.is_file:
        folder, slash, name = address.rpartition("/")
        address, units = folder or slash or ".", [(name, int(info.size or 0), int(info.mtime_ns or 0))]
    else:
        hidden = (".", "_")
        found = [unit for unit in place.files() if not (place.root + unit[0]).startswith(skip or "\0")]
        units = [unit for unit in found if not any(part.startswith(hidden) for part in unit[0].split("/"))]
    kind = kind or _kind_of(place.address, units)
    own = tuple(unit for unit in units if info.is_file or unit[0].lower().endswith(_SUFFIXES[kind]))
    if not own:
        raise UsageError(f"the source {place.address!r} has no {_NAMES[kind]}; give another folder, or --from")
    if kind == "images" and column is not None:
        raise UsageError("a folder of images has no columns; leave out --image-column")
    source = BatchSource(address=address, kind=kind, units=own, column=column)
    return _with_column(source) if kind == "parquet" else source


def _kind_of(address: str, units: Sequence[Unit]) -> SourceKind:
    found: Iterator[SourceKind] = (
        kind for path, _, _ in units for kind, suffixes in _SUFFIXES.items() if path.lower().endswith(suffixes)
    )
    counts = Counter(found)
    if not counts:
        raise UsageError(
            f"the source {address!r} has no images (.jpg, .png, ...), tars or Parquet files; check the address"
        )
    if len(counts) > 1:
        told = " and ".join(f"{counts[kind]} {_NAMES[kind]}" for kind in _SUFFIXES if counts[kind])
        raise UsageError(f"the source {address!r} has {told}; say which are meant: --from {min(counts)}")
    return next(iter(counts))


def _with_column(source: BatchSource) -> BatchSource:
    """The source with the column of its first file that can be read, which has to be in all files."""
    for path, _, _ in source.units:
        try:
            schema = _parquet(source, path).schema_arrow
            break
        except InputError:
            continue
    else:
        raise UsageError(f"none of the Parquet files of {source.address!r} can be read; write them again")
    found = [entry.name for entry in schema if _is_bytes(entry.type)]
    if source.column is None and len(found) != 1:
        told = "several columns may have" if found else "no column seems to have"
        named = "|".join((found or schema.names)[:20])
        raise UsageError(f"{path!r}: {told} the images; name it: --image-column {named}")
    column = source.column or found[0]
    if column not in schema.names:
        raise UsageError(f"{path!r} has no column {column!r}; it has {', '.join(map(repr, schema.names[:20]))}")
    if column not in found:
        raise UsageError(f"the column {column!r} holds {schema.field(column).type}, not the bytes of image files")
    return replace(source, column=column)


def _is_bytes(kind: Any) -> bool:
    """Whether a column holds files: bytes, or the structs of bytes and paths that Hugging Face's datasets have."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(entry.name == "bytes" and _is_bytes(entry.type) for entry in kind)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _parquet(source: BatchSource, path: str) -> Any:
    """An open Parquet file."""
    from pyarrow.lib import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    folder = source.folder
    try:
        return folder.ask(path, lambda path: ParquetFile(folder.filesystem.open_input_file(path)))
    except (ArrowInvalid, OSError) as error:
        raise InputError(
            f"{folder.address_of(path)!r} is not a readable Parquet file ({one_line(error)}); write it again"
        ) from None


def in_groups(units: Sequence[Unit], stems: Sequence[str], most: int) -> Iterator[Task]:
    """Tasks of image files, each of which is one shard of at most so many."""
    start, size = 0, 0
    for end, (_, own, _) in enumerate(units):
        if end > start and (end - start == most or size + own > SHARD_BYTES):
            yield Task(units=tuple(units[start:end]), stems=tuple(stems[start:end]))
            start, size = end, 0
        size += own
    if units:
        yield Task(units=tuple(units[start:]), stems=tuple(stems[start:]))


# ---- reading


def read_shards(source: BatchSource, task: Task, most: int) -> Iterator[Shard]:
    """Read shards of at most so many images; those that can't be read are there, with their problems.

    At most one shard and one image are in memory, of Parquet the group of rows, too. Of `Task.skip`, none is given.

    Raises:
        UnavailableError: the storage doesn't answer.
    """
    number, size, own = 0, 0, list[BatchImage]()

    def shard(*, last: bool) -> Iterator[Shard]:
        if number not in task.skip:
            yield Shard(units=task.units, number=number, last=last, images=tuple(own))

    for image in _READERS[source.kind](source, task):
        if own and source.kind != "images" and (len(own) == most or size + len(image.content) > SHARD_BYTES):
            yield from shard(last=False)
            number, size, own = number + 1, 0, []
        own.append(image)
        size += len(image.content)
    yield from shard(last=True)


def _images(source: BatchSource, task: Task) -> Iterator[BatchImage]:
    folder = source.folder

    def fetched(unit: Unit, stem: str) -> BatchImage:
        address, content, problem = folder.address_of(unit[0]), b"", None
        try:
            content = folder.read(unit[0])
        except InputError as error:
            problem = str(error)
        except OSError as error:
            problem = f"{address!r} can't be read: {one_line(error)}; check the path and its permissions"
        return BatchImage(key=unit[0], address=address, stem=stem, content=content, problem=problem)

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        yield from pool.map(fetched, task.units, task.stems)


class _Stream:
    """A file that is read from beginning to end; a storage that breaks off is asked again for the same bytes."""

    def __init__(self, folder: Folder, path: str) -> None:
        self._folder, self._path, self._file = folder, path, folder.ask(path, folder.filesystem.open_input_file)

    def read(self, size: int) -> bytes:
        return self._folder.ask(self._path, lambda _: self._file.read(size))


def _samples(source: BatchSource, task: Task) -> Iterator[BatchImage]:
    """The samples of a tar: members that share their name up to the first dot, one after another."""
    ((path, _, _),) = task.units
    address, base = source.folder.address_of(path), _without_suffix(path)
    wanted = IMAGE_SUFFIXES if source.column is None else {f".{source.column.lstrip('.').lower()}"}
    key, count, has_image = None, 0, True

    def end_of_sample() -> Iterator[BatchImage]:
        if not has_image:
            name = f"{address}#{key}"
            problem = f"{name!r} has no {source.column or 'image'} file; check the sample"
            yield BatchImage(key=str(key), address=name, stem=f"{base}/{_safe(str(key))}", problem=problem)

    try:
        stream: Any = _Stream(source.folder, path)
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, slash, file = member.name.rpartition("/")
                stem, dot, suffix = file.partition(".")
                if key != (own := f"{folder}{slash}{stem}"):
                    yield from end_of_sample()
                    key, has_image, count = own, False, count + 1
                if not has_image and f"{dot}{suffix}".lower() in wanted:
                    image = _member(address, f"{base}/{_safe(own)}", own, tar, member)
                    has_image = True
                    yield image
        yield from end_of_sample()
    except (tarfile.TarError, EOFError, ValueError, OSError) as error:
        yield from end_of_sample()
        name = f"{address}#{count}"
        problem = f"{address!r} is damaged after {count} samples ({one_line(error)}); copy it again"
        yield BatchImage(key=name, address=name, stem=f"{base}/damaged", problem=problem)


def _member(address: str, stem: str, key: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> BatchImage:
    address = f"{address}#{member.name}"
    try:
        check_bytes(member.size, address)
    except InputError as error:
        return BatchImage(key=key, address=address, stem=stem, problem=str(error))
    file = tar.extractfile(member)
    return BatchImage(key=key, address=address, stem=stem, content=b"" if file is None else file.read())


def _without_suffix(path: str) -> str:
    suffixes = (*_SUFFIXES["webdataset"], *_SUFFIXES["parquet"])
    return next((path[: -len(suffix)] for suffix in suffixes if path.lower().endswith(suffix)), path)


def _safe(key: str) -> str:
    """A key as the path of a file: none of its parts points outside the folder, or is hidden."""
    parts = [part for part in key.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(part if not part.startswith(".") else f"_{part}" for part in parts) or "_"


def _rows(source: BatchSource, task: Task) -> Iterator[BatchImage]:
    from pyarrow.lib import ArrowException

    ((path, _, _),) = task.units
    folder, base, row = source.folder, _without_suffix(path), 0

    def image(stem: str, content: bytes | None, problem: str | None = None) -> BatchImage:
        address = folder.address_of(f"{path}#{row}")
        if not content and problem is None:
            problem = f"{address!r} is empty; leave out the row, or fill it"
        return BatchImage(
            key=f"{path}#{row}", address=address, stem=f"{base}/{stem}", content=content or b"", problem=problem
        )

    try:
        file = _parquet(source, path)
        if not any(entry.name == source.column and _is_bytes(entry.type) for entry in file.schema_arrow):
            raise InputError(f"no column {source.column!r} with bytes")
        for group in range(file.num_row_groups):
            table = folder.ask(path, lambda _, group=group: file.read_row_group(group, columns=[source.column]))
            for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
                for value in batch.column(source.column).to_pylist():
                    yield image(f"{row:09}", value.get("bytes") if isinstance(value, dict) else value)
                    row += 1
    except (ArrowException, InputError, OSError) as error:
        address = folder.address_of(path)
        yield image("damaged", None, f"{address!r} is damaged from row {row} on ({one_line(error)}); write it again")


_READERS: Mapping[SourceKind, Callable[[BatchSource, Task], Iterable[BatchImage]]] = {
    "images": _images,
    "webdataset": _samples,
    "parquet": _rows,
}

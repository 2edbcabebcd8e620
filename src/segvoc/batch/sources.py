"""Sources: folders of images, WebDataset tars, and Parquet files with the bytes or the paths of images."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from segvoc.batch.places import Location, place_of
from segvoc.batch.shards import Container, SourceKind, Unit
from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.result_paths import InputImage, plan_results

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""Files that are taken for WebDataset tars."""

PARQUET_SUFFIXES = (".parquet", ".pq")
"""Files that are taken for Parquet."""

STORAGE_THREADS = 16
"""Threads that ask a storage at the same time; they mostly wait."""

KINDS: tuple[SourceKind, ...] = ("images", "webdataset", "parquet")
"""What a source may be made of."""

_SUFFIXES: Mapping[SourceKind, tuple[str, ...]] = {
    "images": tuple(sorted(IMAGE_SUFFIXES)),
    "webdataset": TAR_SUFFIXES,
    "parquet": PARQUET_SUFFIXES,
}
_NAMES = {"images": "images", "webdataset": "tars", "parquet": "Parquet files"}
_PATH_COLUMNS = ("path", "file", "file_name", "filename", "image_path", "url", "uri")


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
    key_column: str | None = None
    """Of Parquet: the column that names the images; None: file and row do."""

    @property
    def place(self) -> Location:
        """Its folder."""
        return place_of(self.address)


def find_source(
    address: str,
    *,
    kind: SourceKind | None = None,
    column: str | None = None,
    key_column: str | None = None,
    skip: str | None = None,
) -> BatchSource:
    """Look at a source: list its files, and find out what they are.

    Hidden files and folders (.name) and those of programs (_name) are left out.

    Args:
        address: a folder or a file, anywhere.
        kind: what it is made of (default: found by the files' suffixes).
        column: of Parquet, the column with the images; of tars, the suffix of the images ("jpg").
        key_column: of Parquet, the column that names the images.
        skip: the address of the results, which are left out.

    Raises:
        UsageError: it doesn't exist, has nothing to label, or isn't of one kind; or a column isn't there.
        UnavailableError: the storage doesn't answer.
    """
    place = place_of(address)
    what = place.kind()
    if what == "missing":
        raise UsageError(f"the source {address!r} does not exist; check the address")
    if what == "file":
        file, question, options = address.partition("?" if "://" in address else "\0")
        parent = f"{file.rpartition('/')[0]}{question}{options}" if "/" in file else "."
        folder, entries = parent or "/", [place.entry()]
    else:
        folder, entries = address, list(place.files())
    skipped = None if skip is None else place_of(skip).path.rstrip("/") + "/"
    base = place_of(folder).path.rstrip("/") + "/"
    units = [
        (entry.path, entry.size, entry.changed)
        for entry in entries
        if what == "file"
        or (
            not any(part.startswith((".", "_")) for part in entry.path.split("/"))
            and not (skipped is not None and (base + entry.path).startswith(skipped))
        )
    ]
    kind = kind or _kind_of(address, units)
    own = tuple(unit for unit in units if unit[0].lower().endswith(_SUFFIXES[kind]) or what == "file")
    if not own:
        raise UsageError(f"the source {address!r} has no {_NAMES[kind]}; give another folder, or --from")
    source = BatchSource(address=folder, kind=kind, units=own, column=column, key_column=key_column)
    if kind == "parquet":
        return _with_columns(source)
    if kind == "images" and (column is not None or key_column is not None):
        raise UsageError("a folder of images has no columns; leave out --image-column and --key-column")
    if key_column is not None:
        raise UsageError("samples of tars have keys of their own; leave out --key-column")
    return source


def _kind_of(address: str, units: Sequence[Unit]) -> SourceKind:
    counts: Counter[SourceKind] = Counter()
    for path, _, _ in units:
        for kind in KINDS:
            counts[kind] += path.lower().endswith(_SUFFIXES[kind])
    found: list[SourceKind] = [kind for kind in KINDS if counts[kind]]
    if not found:
        raise UsageError(
            f"the source {address!r} has no images (.jpg, .png, ...), tars or Parquet files; check the address"
        )
    if len(found) > 1:
        told = " and ".join(f"{counts[kind]} {_NAMES[kind]}" for kind in found)
        raise UsageError(f"the source {address!r} has {told}; say which are meant: --from {found[0]}")
    return found[0]


def _with_columns(source: BatchSource) -> BatchSource:
    """The source with the columns of its first file, which have to be in all files."""
    schema = _parquet(source.place, source.units[0][0]).schema_arrow
    column = source.column or _image_column(source, schema)
    for name in (column, source.key_column):
        if name is not None and name not in schema.names:
            raise UsageError(
                f"{source.units[0][0]!r} has no column {name!r}; it has {', '.join(map(repr, schema.names[:20]))}"
            )
    if not (_is_bytes(schema.field(column).type) or _is_text(schema.field(column).type)):
        raise UsageError(
            f"the column {column!r} holds {schema.field(column).type}, neither bytes nor paths of images; "
            "name another: --image-column"
        )
    return replace(source, column=column)


def _image_column(source: BatchSource, schema: Any) -> str:
    binary = [field.name for field in schema if _is_bytes(field.type)]
    paths = [field.name for field in schema if _is_text(field.type) and field.name.lower() in _PATH_COLUMNS]
    found = binary or paths
    if len(found) != 1:
        told = "several columns may have" if found else "no column seems to have"
        raise UsageError(
            f"{source.units[0][0]!r}: {told} the images; name it: --image-column "
            f"{'|'.join((found or schema.names)[:20])}"
        )
    return found[0]


def _is_bytes(kind: Any) -> bool:
    """Whether a column holds files: bytes, or the structs of bytes and paths that Hugging Face's datasets have."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(field.type) for field in kind)
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _parquet(place: Location, path: str) -> Any:
    """An open Parquet file."""
    from pyarrow.lib import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile((place / path).open())
    except (ArrowInvalid, OSError) as error:
        raise InputError(
            f"{(place / path).address!r} is not a readable Parquet file ({one_line(error)}); write it again"
        ) from None


def containers(source: BatchSource) -> Iterator[Container | InputError]:
    """What the tasks of a source of tars or Parquet files read, in order; an error in place of a damaged file."""
    if source.kind == "webdataset":
        for unit in source.units:
            yield Container(kind="webdataset", units=(unit,))
        return
    place = source.place

    def row_groups(unit: Unit) -> list[Container] | InputError:
        try:
            metadata = _parquet(place, unit[0]).metadata
        except InputError as error:
            return error
        found, first = [], 0
        for number in range(metadata.num_row_groups):
            rows = metadata.row_group(number).num_rows
            found.append(Container(kind="parquet", units=(unit,), row_group=number, images=rows, first_row=first))
            first += rows
        return found

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        for found in pool.map(row_groups, source.units):
            if isinstance(found, InputError):
                yield found
            else:
                yield from found


def result_stems(source: BatchSource, out: Location, *, in_files: bool) -> list[str]:
    """The names of the results of a folder's images: without suffix, unless two would have one name.

    Args:
        source: a folder of images.
        out: where the results go.
        in_files: whether each has files of its own there, as `segvoc segment` writes them.

    Raises:
        UsageError: a result would overwrite an image, or two would have one name in spite of their suffixes.
    """
    paths = [path for path, _, _ in source.units]
    plain = [PurePosixPath(path).with_suffix("").as_posix() for path in paths]
    if not in_files:
        times = Counter(stem.casefold() for stem in plain)
        return [stem if times[stem.casefold()] == 1 else path for stem, path in zip(plain, paths, strict=True)]
    base = Path(source.place.path) if source.place.is_local else Path(os.sep, "elsewhere")
    inputs = [InputImage(path=base / path, stem=stem) for path, stem in zip(paths, plain, strict=True)]
    folder = out.path if out.is_local else os.path.join(os.sep, "results")
    return [plan.stem for plan in plan_results(inputs, folder) if plan is not None]

"""Reading containers into shards, in tasks of their own beside the models'."""

import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

from segvoc.batch import places
from segvoc.batch.places import Location, place_of
from segvoc.batch.shards import BatchImage, Container, Shard, ShardLimits, cut
from segvoc.batch.sources import PARQUET_SUFFIXES, STORAGE_THREADS, TAR_SUFFIXES, BatchSource
from segvoc.errors import InputError, UnavailableError, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES

ROWS_AT_ONCE = 16
"""Rows of a Parquet file that are decoded at a time."""


def read_shards(source: BatchSource, container: Container, limits: ShardLimits) -> Iterator[Shard]:
    """Read a container; the images that can't be read are in its shards, with their problems.

    A storage that breaks off is asked again from the beginning of the container, and what had been read is left out.

    Raises:
        UnavailableError: the storage doesn't answer.
    """
    read = {"images": _images, "webdataset": _samples, "parquet": _rows}[container.kind]
    failures, given = 0, set(container.skip)
    while True:
        try:
            for shard in cut(container, read(source, container), limits):
                if shard.number not in given:
                    given.add(shard.number)
                    yield shard
            return
        except UnavailableError:
            raise
        except OSError as error:  # in the middle of a file
            failures += 1
            if failures == places.ATTEMPTS:
                path = (source.place / container.units[0][0]).address
                raise UnavailableError(
                    f"{path!r} breaks off: {one_line(error)}; run the same call again to go on"
                ) from None
            places.wait(failures)


def _images(source: BatchSource, container: Container) -> Iterator[BatchImage]:
    place = source.place

    def image(path: str, size: int, stem: str) -> BatchImage:
        return _fetched(place / path, size, path, stem)

    with ThreadPoolExecutor(STORAGE_THREADS) as pool:
        yield from pool.map(
            image,
            (path for path, _, _ in container.units),
            (size for _, size, _ in container.units),
            container.stems or [PurePosixPath(path).with_suffix("").as_posix() for path, _, _ in container.units],
        )


def _fetched(place: Location, size: int | None, key: str, stem: str) -> BatchImage:
    """An image file of a storage."""
    named: dict[str, Any] = {"key": key, "source": place.address, "stem": stem}
    try:
        size = place.entry().size if size is None else size
        if size > places.MAX_BYTES:
            return BatchImage(**named, problem=_too_large(place.address, size))
        return BatchImage(**named, content=place.read())
    except UnavailableError:
        raise
    except FileNotFoundError:
        problem = "does not exist; check the path"
    except PermissionError:
        problem = "can't be read: permission denied; change its permissions"
    except OSError as error:
        problem = f"can't be read: {one_line(error)}; check the storage"
    return BatchImage(**named, problem=f"{place.address!r} {problem}")


def _too_large(name: str, size: int) -> str:
    return f"{name!r} has {size} bytes, more than {places.MAX_BYTES}; make it smaller"


# ---- WebDataset


def _samples(source: BatchSource, container: Container) -> Iterator[BatchImage]:
    """The samples of a tar: members that share their name up to the first dot, one after another."""
    ((path, _, _),) = container.units
    place = source.place / path
    base = _without(path, TAR_SUFFIXES)
    wanted = None if source.column is None else f".{source.column.lstrip('.').lower()}"
    key, found, count = None, None, 0
    with place.open() as file:
        try:
            with tarfile.open(fileobj=file, mode="r|*") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    own, suffix = _split(member.name)
                    if own != key:
                        if key is not None:
                            yield found or _without_image(place, base, key, wanted)
                        key, found, count = own, None, count + 1
                    if found is None and (suffix == wanted if wanted else suffix in IMAGE_SUFFIXES):
                        found = _member(place, base, own, tar, member)
        except (tarfile.TarError, EOFError, ValueError) as error:
            name = f"{place.address}#{count}"
            problem = f"{place.address!r} is damaged after {count} samples ({one_line(error)}); copy it again"
            if key is not None:
                yield found or _without_image(place, base, key, wanted)
            yield BatchImage(key=name, source=name, stem=f"{base}/damaged", problem=problem)
            return
    if key is not None:
        yield found or _without_image(place, base, key, wanted)


def _member(place: Location, base: str, key: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> BatchImage:
    name = f"{place.address}#{member.name}"
    named: dict[str, Any] = {"key": key, "source": name, "stem": f"{base}/{_safe(key)}"}
    if member.size > places.MAX_BYTES:
        return BatchImage(**named, problem=_too_large(name, member.size))
    file = tar.extractfile(member)
    return BatchImage(**named, content=b"" if file is None else file.read())


def _without_image(place: Location, base: str, key: str, wanted: str | None) -> BatchImage:
    name = f"{place.address}#{key}"
    problem = f"{name!r} has no {wanted or 'image'} file; check the sample"
    return BatchImage(key=key, source=name, stem=f"{base}/{_safe(key)}", problem=problem)


def _split(name: str) -> tuple[str, str]:
    """Key and suffix of a member by WebDataset's rule: the file's name ends at its first dot."""
    folder, _, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return (f"{folder}/{stem}" if folder else stem), f"{dot}{suffix}".lower()


def _without(path: str, suffixes: tuple[str, ...]) -> str:
    return next((path[: -len(suffix)] for suffix in suffixes if path.lower().endswith(suffix)), path)


def _safe(key: str) -> str:
    """A key as the path of a file: none of its parts points outside the folder, or is hidden."""
    parts = [part for part in key.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(part if not part.startswith(".") else f"_{part}" for part in parts) or "_"


# ---- Parquet


def _rows(source: BatchSource, container: Container) -> Iterator[BatchImage]:
    from pyarrow.lib import ArrowException
    from pyarrow.parquet import ParquetFile

    ((path, _, _),) = container.units
    place = source.place / path
    columns = [name for name in (source.column, source.key_column) if name is not None]
    base, row = _without(path, PARQUET_SUFFIXES), container.first_row
    try:
        with place.open() as file:
            parquet = ParquetFile(file)
            if missing := [name for name in columns if name not in parquet.schema_arrow.names]:
                raise InputError(f"it has no column {missing[0]!r}")
            groups = parquet.iter_batches(ROWS_AT_ONCE, row_groups=[container.row_group], columns=columns)
            for batch in groups:
                values = batch.column(columns[0]).to_pylist()
                keys = batch.column(columns[1]).to_pylist() if source.key_column else [None] * len(values)
                for value, key in zip(values, keys, strict=True):
                    name = f"{path}#{row}"
                    own = name if key is None else str(key)
                    yield _row(source, place, value, own, name, f"{base}/{row:09}")
                    row += 1
    except (ArrowException, InputError, ValueError, OSError) as error:
        if isinstance(error, OSError) and not place.is_local:
            raise
        name = f"{path}#{row}"
        problem = f"{place.address!r} is damaged from row {row} on ({one_line(error)}); write it again"
        yield BatchImage(key=name, source=f"{place.address}#{row}", stem=f"{base}/damaged", problem=problem)


def _row(source: BatchSource, place: Location, value: Any, key: str, name: str, stem: str) -> BatchImage:
    named: dict[str, Any] = {"key": key, "source": f"{place.address}#{name.rpartition('#')[2]}", "stem": stem}
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return BatchImage(**named, content=value)
    if not value:
        return BatchImage(**named, problem=f"{named['source']!r} is empty; leave out the row, or fill it")
    try:
        found = _beside(source, place, str(value))
    except InputError as error:
        return BatchImage(**named, problem=str(error))
    fetched = _fetched(found, None, key, stem)
    return BatchImage(**{**named, "source": found.address}, content=fetched.content, problem=fetched.problem)


def _beside(source: BatchSource, table: Location, path: str) -> Location:
    """The place of a path in a Parquet file: relative to the file, or in the same kind of storage.

    Nothing else is fetched, since the file may come from elsewhere.
    """
    if "://" in path:
        found_scheme = path.partition("://")[0].lower()
        if found_scheme != table.scheme:
            raise InputError(
                f"{path!r} is in another kind of storage than the Parquet file ({table.scheme}); copy it there"
            )
        return place_of(path)
    if path.startswith("/") and table.is_local:
        return place_of(path)
    names = table.path.removeprefix(source.place.path).lstrip("/")  # of the table, below the source
    return source.place / f"{names[: names.rfind('/') + 1]}{path}"

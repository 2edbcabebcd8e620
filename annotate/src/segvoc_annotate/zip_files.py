"""Streaming zip writer, and safe unpacking of untrusted zips."""

import os
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, cast

from segvoc.errors import InputError, SegvocError, UsageError, one_line
from segvoc.storage.atomic_writes import writing
from segvoc.storage.files import safe_path

_STORED = frozenset((".zip", ".png", ".jpg", ".jpeg", ".webp", ".avif", ".safetensors", ".gif", ".heic"))
"""Suffixes of files that don't compress."""

_LARGEST_FACTOR, _LARGEST_REST = 20, 50_000_000
"""Max unpacked size as a factor of the zip's size, plus a constant [bytes]: images and label maps hardly shrink."""

_BLOCK = 262_144


class _Pieces:
    """A file-like buffer of written bytes."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass


class ZipStream:
    """A streaming zip: each call yields the next pieces. Incompressible files are stored."""

    def __init__(self) -> None:
        self._buffer = _Pieces()
        self._archive = zipfile.ZipFile(cast(IO[bytes], self._buffer), "w")

    def add(self, name: str, path: Path) -> Iterator[bytes]:
        """Add a file; skip it if it no longer exists. `InputError` if it can't be read."""
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                entry = _entry(name, status.st_mtime)
                entry.file_size = status.st_size
                with self._archive.open(entry, "w") as target:
                    while block := file.read(_BLOCK):
                        target.write(block)
                        yield self._drain()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise InputError(f"{str(path)!r} can't be read: {error.strerror or error}; check it") from None
        yield self._drain()

    def add_text(self, name: str, pieces: Iterable[str]) -> Iterator[bytes]:
        """Add a text file, in pieces."""
        with self._archive.open(_entry(name, time.time()), "w", force_zip64=True) as target:
            for piece in pieces:
                target.write(piece.encode())
                if self._buffer.pieces:
                    yield self._drain()
        yield self._drain()

    def end(self) -> Iterator[bytes]:
        """Write the central directory."""
        self._archive.close()
        yield self._drain()

    def _drain(self) -> bytes:
        drained, self._buffer.pieces = b"".join(self._buffer.pieces), []
        return drained


def _entry(name: str, changed: float) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, max(time.localtime(changed)[:6], (1980, 1, 1, 0, 0, 0)))
    stored = PurePosixPath(name).suffix.lower() in _STORED
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


@contextmanager
def _damage_named(path: str) -> Iterator[None]:
    try:
        yield
    except SegvocError:
        raise
    except Exception as error:  # zipfile raises a dozen exception types on damaged data, some of them without a reason
        if isinstance(error, OSError) and error.strerror:
            raise UsageError(f"{path!r} can't be read: {error.strerror}; check it") from None
        raise UsageError(f"{path!r} can't be unpacked as a zip: {one_line(error)}; save it again") from None


def zip_names(path: str | os.PathLike[str]) -> list[str]:
    """List the file names in a zip; `UsageError` if it can't be read."""
    with _damage_named(os.fspath(path)), zipfile.ZipFile(path) as archive:
        return archive.namelist()


def unpack_zip(path: str | os.PathLike[str], target: Path, wanted: Callable[[str], str | None]) -> None:
    """Unpack an untrusted zip; `wanted` maps a name in it to a path in the target folder, or None to skip the file.

    `UsageError` if the file isn't a zip, or is unsafe: names that lead outside, links, duplicates, or too many unpacked
    bytes. `OutputError` if the folder can't be written.
    """
    name = os.fspath(path)
    with _damage_named(name), zipfile.ZipFile(path) as archive:
        entries: dict[str, zipfile.ZipInfo] = {}
        for entry in archive.infolist():
            if entry.is_dir() or (place := wanted(entry.filename)) is None:
                continue
            if (place := _checked(entry, place, name)) in entries:
                raise UsageError(f"{name!r} has {place[:80]!r} twice; save it again")
            entries[place] = entry
        _check_size(sum(entry.file_size for entry in entries.values()), Path(path))
        for place, entry in entries.items():
            with archive.open(entry) as source:
                _extract(source, target / place)


def _checked(entry: zipfile.ZipInfo, place: str, path: str) -> str:
    kind = entry.external_attr >> 16 & 0o170000
    if kind not in (0, 0o100000):
        raise UsageError(f"{path!r} can't be unpacked: {place[:80]!r} is a link or a device; save it again")
    try:
        return safe_path(place).as_posix()
    except ValueError as error:
        raise UsageError(f"{path!r} can't be unpacked: {error}; save it again") from None


def _check_size(total: int, path: Path) -> None:
    if total > _LARGEST_FACTOR * path.stat().st_size + _LARGEST_REST:
        raise UsageError(f"{str(path)!r} would take {total} bytes, which is more than images and label maps can")
    with suppress(OSError):
        if total > (free := shutil.disk_usage(path.parent).free):
            raise UsageError(f"{str(path)!r} takes {total} bytes, but only {free} are free; free some space")


def _extract(source: IO[bytes], target: Path) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    with file:
        while block := source.read(_BLOCK):
            with writing(target):
                file.write(block)
                file.flush()

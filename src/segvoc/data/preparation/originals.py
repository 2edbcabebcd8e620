"""Find original downloads in the data folder, and unpack the files of their archives that a benchmark needs."""

import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from segvoc.data.benchmarks import PREPARATION_FOLDER, Download
from segvoc.errors import InputError, SegvocError, UsageError, missing_extra, one_line
from segvoc.runtime.progress import Progress
from segvoc.storage.atomic_writes import write_atomically

_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),  # bytes in protocol 2, as written by Python 3
}
"""The globals that a pickle of dictionaries, lists and numeric arrays needs; none of them runs code from the file."""


class _HarmlessUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it refers to {module_name}.{global_name}")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def read_pickled_index(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of lists and arrays without running code; anything else is a `UsageError`."""
    try:
        content = _HarmlessUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UsageError(f"{str(path)!r} can't be read: {error.strerror}; check its permissions") from None
    except Exception as error:
        # damaged pickles raise almost any exception, from EOFError to UnicodeDecodeError
        raise UsageError(
            f"{str(path)!r} is damaged or not safe to read ({one_line(error)}); download it again from its page"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"{str(path)!r} contains a {type(content).__name__}, not a dictionary; download it again")
    return content


def read_matlab_array(path: Path, variable: str) -> np.ndarray:
    """Read a matrix (rows, columns) from a MATLAB file of version 5 or 7.3 (which is HDF5)."""
    try:
        with path.open("rb") as file:
            header = file.read(128)
        if header.startswith(b"MATLAB 7.3") or b"\x89HDF" in header:
            import h5py

            with h5py.File(path, "r") as content:
                # MATLAB stores arrays column by column, HDF5 row by row
                array = np.asarray(content[variable]).T
        else:
            from scipy.io import loadmat

            array = np.asarray(loadmat(path, variable_names=[variable])[variable])
    except ImportError:
        raise missing_extra("h5py", "data") from None
    except Exception as error:
        # both libraries raise many different exceptions on damaged files
        raise InputError(
            f"{str(path)!r} can't be read as a MATLAB file with {variable!r} ({one_line(error)}); unpack it again"
        ) from None
    if array.ndim != 2 or array.dtype.kind not in "uif":
        raise InputError(f"{variable!r} in {str(path)!r} is not a matrix of numbers; unpack it again")
    return array


_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, NotImplementedError, RuntimeError, ValueError, OverflowError, MemoryError),
)
"""Exceptions that `zipfile` and `tarfile` raise for archives that are damaged, truncated or in an unknown format."""


MOST_BLOWN_UP = 200
"""Max compression ratio of an archived file; images hardly shrink, indices by a factor of ten."""

LARGEST_BLOWN_UP = 64 << 20
"""Size below which any ratio is allowed [bytes]."""


def files_below(folder: Path, suffix: str) -> list[str]:
    """The files below a folder with this suffix, without hidden files such as macOS's `._*`; sorted relative paths."""
    found: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in names if name.endswith(suffix) and not name.startswith("."))
        found += [path.relative_to(folder).as_posix() for path in paths]
    return sorted(found)


def find_original(download: Download, root: Path) -> str | None:
    """Where a download is unpacked, below the data folder; None if its files are missing or incompletely unpacked."""
    for location in download.locations:
        path = root / location
        names = (name for _, _, names in os.walk(path) for name in names)
        exists = path.is_file() if download.is_file else any(name.endswith(download.suffix) for name in names)
        if exists and not _marker(root, location).exists():
            return location
    return None


def find_archive(download: Download, root: Path) -> Path | None:
    """Find the archive of a download: in the data folder, or in a folder on the path to the unpacked files."""
    folders = [root / parent for parent in PurePosixPath(download.locations[0]).parents]
    paths = (folder / name for folder in folders[::-1] for name in download.archives)
    return next((path for path in paths if path.is_file()), None)


def check_originals(downloads: Sequence[Download], root: Path, title: str) -> None:
    """Raise `UsageError` if a download is missing: which, where to get it and where to put it."""
    if not root.is_dir():
        raise UsageError(f"the data folder {str(root)!r} does not exist; create it and download {title} into it")
    missing: dict[tuple[str, ...], list[Download]] = {}
    for download in downloads:
        if find_original(download, root) is None and find_archive(download, root) is None:
            missing.setdefault(download.archives, []).append(download)
    if missing:
        steps = "; and ".join(_how_to_get(archives, files, root) for archives, files in missing.items())
        raise UsageError(f"{title} is incomplete in {str(root)!r}: {steps}")


def _how_to_get(archives: Sequence[str], files: Sequence[Download], root: Path) -> str:
    paths = dict.fromkeys(repr(str(root / download.locations[0])) for download in files)
    names, page = ", ".join(paths), files[0].page
    if not archives:
        return f"{names} is missing; download it from {page}"
    verb = "is" if len(paths) == 1 else "are"
    return (
        f"{names} {verb} missing; download {archives[0]} from {page} and put it into {str(root)!r} or unpack it there"
    )


def unpack_downloads(
    downloads: Sequence[Download], root: Path, on_failure: Callable[[str, str], None]
) -> tuple[str, ...]:
    """Unpack the downloads that are still archives, skipping hidden files; returns all locations below the data folder.

    A marker file exists until all is whole: the next call resumes, with the same or a newly downloaded archive.
    `on_failure` is called for each damaged file in an archive, with its path below the data folder and the error.
    `InputError` if a whole archive is damaged, `UsageError` if it lacks files or a path in it points outside its
    folder.
    """
    archives: dict[Path, list[Download]] = {}
    for download in downloads:
        if find_original(download, root) is None and (archive := find_archive(download, root)) is not None:
            archives.setdefault(archive, []).append(download)
    for archive, wanted in archives.items():
        _unpack(archive, wanted, root, on_failure)
    return tuple(find_original(download, root) or download.locations[0] for download in downloads)


def _unpack(archive: Path, wanted: Sequence[Download], root: Path, on_failure: Callable[[str, str], None]) -> None:
    markers = [_marker(root, download.locations[0]) for download in wanted]
    for marker in markers:
        if not marker.exists():
            write_atomically(marker, lambda file: file.write(archive.name.encode()))
    unpacked: set[Download] = set()
    complete = True
    with _damage_named(archive), Progress(f"unpacking {archive.name}", unit="file") as progress:
        for name, size, read in _members(archive):
            places = ((download, _path_inside(name, download, archive)) for download in wanted)
            download, inside = next((place for place in places if place[1] is not None), (None, None))
            if download is None or inside is None:
                continue
            path = str(PurePosixPath(download.locations[0]) / inside)
            unpacked.add(download)
            progress.update()
            if (root / path).is_file() and (root / path).stat().st_size == size:
                continue
            try:
                content = read()
            except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, MemoryError) as error:
                complete = False
                on_failure(path, f"{name!r} in {str(archive)!r} is damaged ({one_line(error)}); download it again")
                continue
            write_atomically(root / path, lambda file, content=content: file.write(content))
    for marker in markers if complete else ():
        marker.unlink(missing_ok=True)  # two downloads of one folder share a marker
    for download in wanted:
        if download not in unpacked:
            raise UsageError(
                f"{str(archive)!r} doesn't contain {download.member!r}; download it again from {download.page}"
            )


def _marker(root: Path, location: str) -> Path:
    """The file that exists until a folder is completely unpacked."""
    return root / PREPARATION_FOLDER / f"{location.replace('/', '.')}.unpacking"


def _members(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size [bytes] and a function that reads the content of each regular file; links and devices are skipped."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if not member.is_dir():
                    _refuse_bomb(archive, member.filename, member.file_size, member.compress_size)
                    yield member.filename, member.file_size, lambda member=member: file.read(member)
        return
    with tarfile.open(archive) as file:
        for member in file:
            _refuse_bomb(archive, member.name, member.size, archive.stat().st_size)
            stream = file.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, member.size, stream.read


def _refuse_bomb(archive: Path, name: str, size: int, packed: int) -> None:
    if size > LARGEST_BLOWN_UP and size > MOST_BLOWN_UP * packed:
        raise UsageError(
            f"{str(archive)!r} contains {name[:100]!r}, whose {packed} bytes would unpack to {size}; don't trust this "
            "archive, download it again"
        )


def _path_inside(name: str, download: Download, archive: Path) -> str | None:
    """The path of an archive member below `Download.member` ("" if that is a file); None if it isn't needed."""
    path = PurePosixPath(name)
    if any(name.startswith(".") and name not in (".", "..") for name in path.parts):
        return None
    _, is_below, rest = f"/{path}".partition(f"/{download.member}")
    if not is_below or not name.endswith(download.suffix):
        return None
    if download.is_file:
        return None if rest else ""
    if not rest.startswith("/"):
        return None
    inside = PurePosixPath(rest[1:])
    if inside.is_absolute() or ".." in inside.parts or "\\" in rest or "\0" in rest:
        raise UsageError(
            f"{str(archive)!r} contains {name!r}, which points outside its folder; don't trust this archive"
        )
    return inside.as_posix()


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except SegvocError:
        raise
    except _BROKEN as error:
        raise InputError(f"{str(archive)!r} is damaged or incomplete ({one_line(error)}); download it again") from None

"""Finding original downloads below the data's root, and unpacking what a benchmark needs of their archives."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from segvoc.data.preparation.downloads import Download
from segvoc.data.preparation.manifests import PREPARATION_FOLDER
from segvoc.errors import InputError, UsageError, one_line
from segvoc.progress import Progress
from segvoc.storage.atomic_writes import write_atomically

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)
"""What archives raise where they are damaged, truncated, or packed in a way that can't be read."""


def files_below(folder: Path, suffix: str) -> list[str]:
    """Names of the files below a folder that end so, as paths from it, sorted; hidden ones (macOS's `._*`) are not."""
    found: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name).relative_to(folder).as_posix()
            for name in names
            if name.endswith(suffix) and not name.startswith(".")
        ]
    return sorted(found)


def find_original(download: Download, root: Path) -> str | None:
    """Where a download lies unpacked, below the root; None if it is nowhere, or was not unpacked to the end."""
    for place in download.places:
        path = root / place
        if (path.is_file() if download.is_file else _holds(path, download.suffix)) and not _mark(root, place).exists():
            return place
    return None


def _holds(folder: Path, suffix: str) -> bool:
    return any(name.endswith(suffix) for _, _, names in os.walk(folder) for name in names)


def find_archive(download: Download, root: Path) -> Path | None:
    """The archive of a download: in the root, or in a folder between it and where the files belong."""
    for folder in _archive_folders(download, root):
        for name in download.archives:
            if (folder / name).is_file():
                return folder / name
    return None


def check_originals(downloads: Sequence[Download], root: Path, title: str) -> None:
    """Check that each download is there, unpacked or as its archive.

    Raises: UsageError: some are not; the message says which, where each should lie and where to get it.
    """
    if not root.is_dir():
        raise UsageError(f"the data's folder {str(root)!r} does not exist; create it and download {title} into it")
    lacking: dict[tuple[str, ...], list[Download]] = {}
    for download in downloads:
        if find_original(download, root) is None and find_archive(download, root) is None:
            lacking.setdefault(download.archives, []).append(download)
    if lacking:
        wanted = "; and ".join(_how_to_get(archives, files, root) for archives, files in lacking.items())
        raise UsageError(f"{title} is not all below {str(root)!r}: {wanted}")


def _how_to_get(archives: Sequence[str], files: Sequence[Download], root: Path) -> str:
    names = ", ".join(repr(str(root / download.places[0])) for download in dict.fromkeys(files))
    page = files[0].page
    if not archives:
        return f"{names} is missing; download it from {page}"
    missing = "is missing" if len(files) == 1 else "are missing"
    return f"{names} {missing}; download {archives[0]} from {page} and put it into {str(root)!r} or unpack it to there"


def unpacked(downloads: Sequence[Download], root: Path, failed: Callable[[str, str], None]) -> tuple[str, ...]:
    """Where each download lies, below the root, after unpacking those of which only the archive is there.

    A kill at any moment leaves whole files and a mark, by which the next call goes on; so does a damaged file, so that
    the next call looks for it in an archive that was downloaded again. Hidden files are not unpacked.

    Args:
        downloads: what is wanted; `check_originals` has found it.
        root: of the data.
        failed: told of each file that is damaged in its archive: its path below the root, and what is wrong.

    Raises:
        InputError: an archive as a whole is damaged.
        OutputError: a file can't be written.
        UsageError: an archive doesn't hold what it should, or holds a name that points out of its folder.
    """
    archives: dict[Path, list[Download]] = {}
    for download in downloads:
        if find_original(download, root) is None and (archive := find_archive(download, root)) is not None:
            archives.setdefault(archive, []).append(download)
    for archive, wanted in archives.items():
        _unpack(archive, wanted, root, failed)
    return tuple(find_original(download, root) or download.places[0] for download in downloads)


def _unpack(archive: Path, wanted: Sequence[Download], root: Path, failed: Callable[[str, str], None]) -> None:
    marks = [_mark(root, download.places[0]) for download in wanted]
    for mark in marks:
        if not mark.exists():
            write_atomically(mark, lambda file: file.write(archive.name.encode()))
    found: set[Download] = set()
    whole = True
    with _damage_named(archive), Progress(f"unpacking {archive.name}", unit="file") as progress:
        for name, size, read in _members(archive):
            if (target := _target(name, wanted, archive)) is None:
                continue
            download, path = target
            found.add(download)
            progress.update()
            if (root / path).is_file() and (root / path).stat().st_size == size:
                continue
            try:
                content = read()
            except (zipfile.BadZipFile, zlib.error) as error:
                whole = False
                failed(path, f"{name!r} in {str(archive)!r} is damaged ({one_line(error)}); download it again")
                continue
            write_atomically(root / path, lambda file, content=content: file.write(content))
    for mark in marks if whole else ():
        mark.unlink(missing_ok=True)  # two downloads of one folder share it
    for download in wanted:
        if download not in found:
            raise UsageError(f"{str(archive)!r} holds no {download.inside!r}; download it again from {download.page}")


def _target(name: str, wanted: Sequence[Download], archive: Path) -> tuple[Download, str] | None:
    """The download that a member belongs to, and its path below the root; None for what isn't wanted."""
    for download in wanted:
        if (inside := _path_inside(name, download, archive)) is not None:
            return download, str(PurePosixPath(download.places[0]) / inside)
    return None


def _archive_folders(download: Download, root: Path) -> list[Path]:
    parents = [root / parent for parent in PurePosixPath(download.places[0]).parents]
    return parents[::-1]


def _mark(root: Path, place: str) -> Path:
    """The file that stands while a place is being unpacked."""
    return root / PREPARATION_FOLDER / f"{place.replace('/', '.')}.unpacking"


def _members(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and content of each regular file of an archive; links and devices are passed over."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                if not member.is_dir():
                    yield member.filename, member.file_size, lambda member=member: file.read(member)
        return
    with tarfile.open(archive) as file:
        for member in file:
            stream = file.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield member.name, member.size, stream.read


def _path_inside(name: str, download: Download, archive: Path) -> str | None:
    """The path of a wanted member below `Download.inside` ("" for a file), None for one that is not wanted."""
    path = PurePosixPath(name)
    if any(part.startswith(".") and part not in (".", "..") for part in path.parts):
        return None
    _, found, rest = f"/{path}".partition(f"/{download.inside}")
    if not found or not name.endswith(download.suffix):
        return None
    if download.is_file:
        return None if rest else ""
    if not rest.startswith("/"):
        return None
    inside = PurePosixPath(rest[1:])
    if inside.is_absolute() or ".." in inside.parts or "\\" in rest or "\0" in rest:
        raise UsageError(f"{str(archive)!r} holds {name!r}, which points out of its folder; it is not to be trusted")
    return inside.as_posix()


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise InputError(
            f"{str(archive)!r} is damaged or not downloaded to the end ({one_line(error)}); download it again"
        ) from None

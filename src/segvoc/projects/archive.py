"""A project as one zip: as it is saved and sent, and how one that comes from elsewhere becomes a folder again."""

import os
import secrets
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO, cast

from segvoc.errors import InputError, UsageError, one_line
from segvoc.projects.folder import ProjectFolder
from segvoc.projects.image_files import REMOVED_FILE, TRASH
from segvoc.projects.project import Project
from segvoc.projects.records import PROJECT_FILE
from segvoc.records import to_json
from segvoc.storage.atomic_writes import writing
from segvoc.storage.json_files import strict_json
from segvoc.storage.safe_paths import safe_path

PARTS = ("images", "labels", "objects", "states", "taught", TRASH, "work")
"""The folders in a project's zip, beside `project.json` and `history.jsonl`."""

_STORED = frozenset((".zip", ".png", ".jpg", ".jpeg", ".webp", ".avif", ".safetensors", ".gif", ".heic"))
"""Suffixes of files that don't get smaller."""

_LARGEST_FACTOR, _LARGEST_REST = 20, 50_000_000
"""A zip may hold so many times its own bytes, and so many more [bytes]: images and label maps hardly shrink."""

_BLOCK = 262_144


class _Pieces:
    """An open file that keeps what is written to it until it is taken."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.kept.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken, self.kept = b"".join(self.kept), []
        return taken


def archived(project: ProjectFolder) -> Iterator[bytes]:
    """The zip of a project, piece by piece; images that lie elsewhere go along, hidden files don't.

    Whatever is changed meanwhile: each file is whole, and whoever opens the zip derives all from the work files.

    Raises:
        InputError: a file can't be read.
    """
    pieces = _Pieces()
    with zipfile.ZipFile(cast(IO[bytes], pieces), "w") as archive:
        record = to_json(project.record) | {"images": "images"}
        archive.writestr(_entry(PROJECT_FILE, time.time()), strict_json(record, indent=1))
        for name, path in _files(project):
            try:
                with path.open("rb") as file:
                    entry = _entry(name, os.fstat(file.fileno()).st_mtime)
                    entry.file_size = os.fstat(file.fileno()).st_size
                    with archive.open(entry, "w") as target:
                        while block := file.read(_BLOCK):
                            target.write(block)
                            yield pieces.take()
            except FileNotFoundError:
                continue  # removed meanwhile
            except OSError as error:
                raise InputError(f"{str(path)!r} can't be read: {error.strerror}; check it") from None
            yield pieces.take()
    yield pieces.take()


def _entry(name: str, changed: float) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, max(time.localtime(changed)[:6], (1980, 1, 1, 0, 0, 0)))
    stored = PurePosixPath(name).suffix.lower() in _STORED
    entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _files(project: ProjectFolder) -> Iterator[tuple[str, Path]]:
    """The files of a project but `project.json`, with their names in the zip."""
    yield project.history.path.name, project.history.path
    yield from ((f"images/{image.name}", image.path) for image in project.images().values())
    yield from ((f"{TRASH}/images/{name}", project.trash.path(name)) for name in project.removed())
    for part in PARTS:
        for parent, folders, files in os.walk(project.folder / part):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = Path(parent).relative_to(project.folder)
            for name in sorted(files):
                place = (below / name).as_posix()
                is_image = place.startswith(("images/", f"{TRASH}/images/"))
                if not name.startswith(".") and not is_image and place != f"{TRASH}/{REMOVED_FILE}":
                    yield place, Path(parent, name)


def is_project_zip(path: str | os.PathLike[str]) -> bool:
    """Whether a file is the zip of a project."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _top(archive) is not None
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def open_project(path: str | os.PathLike[str]) -> Project:
    """Open a project by its folder, or by its zip, which is unpacked beside it.

    Raises:
        UsageError: there is none, or it can't be opened.
        DamagedProjectError: it is damaged.
        OutputError: the zip can't be unpacked.
    """
    return unpack_project(path) if Path(path).suffix.lower() == ".zip" and Path(path).is_file() else Project.open(path)


def unpack_project(path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None) -> Project:
    """Unpack the zip of a project, whoever made it, and open it.

    Args:
        path: the zip.
        folder: where the project is to be; None: beside the zip, with its name.

    Raises:
        UsageError: something is there already, or the file is no such zip, or one that would harm: with names that
            lead elsewhere, links, or more bytes than it can have.
        OutputError: the folder can't be written.
    """
    target = Path(path).with_suffix("") if folder is None else Path(folder)
    if os.path.lexists(target):
        raise UsageError(
            f"{str(target)!r} is there already; open it, or move it away before {os.fspath(path)!r} is unpacked"
        )
    made = target.parent / f".segvoc-{secrets.token_hex(8)}.unpacking"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked(archive, os.fspath(path))
            for name, entry in entries.items():
                with archive.open(entry) as source:
                    _extract(source, made / name)
        if Project.open(made).record.images != "images":
            raise UsageError(f"{os.fspath(path)!r} is about images that lie outside of it; correct its {PROJECT_FILE}")
        with writing(target):
            made.replace(target)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        told = f"{os.fspath(path)!r} is no zip that can be unpacked: {one_line(error)}; save it again"
        raise UsageError(told) from None
    except OSError as error:
        raise UsageError(f"{os.fspath(path)!r} can't be read: {error.strerror or error}; check it") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return Project.open(target)


def _top(archive: zipfile.ZipFile) -> str | None:
    """The folder in a zip that has `project.json`: "", or one at the top; None without any."""
    names = [name for name in archive.namelist() if PurePosixPath(name).name == PROJECT_FILE]
    tops = sorted((name[: -len(PROJECT_FILE)] for name in names), key=len)
    return tops[0] if tops and tops[0].count("/") <= 1 else None


def _checked(archive: zipfile.ZipFile, path: str) -> dict[str, zipfile.ZipInfo]:
    """The entries of a project's zip by their names in the project."""
    top = _top(archive)
    if top is None:
        raise UsageError(f"{path!r} has no {PROJECT_FILE}; give the zip of a project")
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        if entry.is_dir() or not entry.filename.startswith(top):
            continue
        name = _name(entry, entry.filename[len(top) :], path)
        if name is not None:
            if name in entries:
                raise UsageError(f"{path!r} has {name[:80]!r} twice; save it again")
            entries[name] = entry
    most = _LARGEST_FACTOR * os.path.getsize(path) + _LARGEST_REST
    if (total := sum(entry.file_size for entry in entries.values())) > most:
        raise UsageError(f"{path!r} would take {total} bytes, which is more than images and label maps can; check it")
    with suppress(OSError):
        if total > (free := shutil.disk_usage(Path(path).parent).free):
            raise UsageError(f"{path!r} takes {total} bytes, of which the disk has {free}; free some space")
    return entries


def _name(entry: zipfile.ZipInfo, name: str, path: str) -> str | None:
    """The name of an entry in the project; None for files that don't belong to it."""
    try:
        place = safe_path(name)
    except ValueError as error:
        raise UsageError(f"{path!r} can't be unpacked: {error}; save it again") from None
    kind = entry.external_attr >> 16 & 0o170000
    if kind not in (0, 0o100000):
        raise UsageError(f"{path!r} can't be unpacked: {name[:80]!r} is a link or a device; save it again")
    if any(piece.startswith(".") for piece in place.parts):
        return None
    is_own = place.parts[0] in PARTS if len(place.parts) > 1 else name in (PROJECT_FILE, "history.jsonl")
    return place.as_posix() if is_own else None


def _extract(source: IO[bytes], target: Path) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            shutil.copyfileobj(source, file, _BLOCK)

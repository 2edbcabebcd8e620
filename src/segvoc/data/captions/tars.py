"""WebDataset tars: members that share a name form one sample. Nothing is unpacked to disk.

A tar's headers are scanned once for names, offsets and captions; images are then read at their offsets.
"""

import glob
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segvoc.data.captions.images import CaptionedImage, ImageLocation, OnProblem, usable_captions
from segvoc.errors import UsageError, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES

TAR_SUFFIX = ".tar"

LARGEST_TEXT = 1 << 20
"""Largest member that is read as captions [bytes]."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


def tars_of_pattern(pattern: str, on_problem: OnProblem) -> list[Path]:
    """The tars that a pattern such as "set/{000000..000099}.tar" or "set/*.tar" matches.

    Args:
        pattern: a path with ranges or wildcards. An existing path, or one without wildcards, matches nothing.
        on_problem: receives one line for each tar of a range that is missing.

    Raises:
        UsageError: no tar matches.
    """
    if not (_RANGE.search(pattern) or glob.has_magic(pattern)) or Path(pattern).exists():
        return []
    names = [name for own in _expanded(pattern) for name in (sorted(glob.glob(own)) or [own])]
    tars = [Path(name) for name in names if Path(name).is_file()]
    if not tars:
        raise UsageError(f"no tar matches {pattern!r}; check the pattern")
    for name in names:
        if not Path(name).is_file():
            on_problem(f"{name!r} is not a file; it is left out")
    return tars


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, judged by its content.

    Raises:
        UsageError: it can't be read, or is compressed as a whole, so that members can't be read individually.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UsageError(f"the captions {str(path)!r} can't be read: {error.strerror}; check the path") from None
    if refusal := _compressed(path, start):
        raise UsageError(refusal)
    return start[257:262] == b"ustar"


def _compressed(path: Path, start: bytes) -> str:
    """The error for a compressed file, judged by its first bytes; empty if it is not compressed."""
    command = next((command for magic, command in _COMPRESSED.items() if start.startswith(magic)), None)
    if command is None:
        return ""
    return f"{str(path)!r} is compressed; unpack it first ({command}), since images in it can't be read one by one"


def _expanded(pattern: str) -> Iterator[str]:
    match = _RANGE.search(pattern)
    if match is None:
        yield pattern
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        yield from _expanded(f"{pattern[: match.start()]}{number:0{len(first)}d}{pattern[match.end() :]}")


def images_in_tar(tar: Path, on_problem: OnProblem) -> Iterator[CaptionedImage]:
    """The captioned images of a tar, named "tar/sample".

    Args:
        tar: the file. If it is damaged, the images before the damaged position are used.
        on_problem: receives one line for each member that is skipped, and one if the tar is damaged.
    """
    locations: dict[str, ImageLocation] = {}
    captions: dict[str, tuple[str, ...]] = {}
    try:
        size = tar.stat().st_size
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                # tarfile keeps every member in memory, 1 kB each
                archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                if refusal := _refusal(member, size):
                    on_problem(f"{str(tar)!r}: the member {member.name[:100]!r} {refusal}; it is left out")
                    continue
                sample, suffix = _split(member.name)
                if suffix in IMAGE_SUFFIXES:
                    location = ImageLocation(str(tar), member.name, member.offset_data, member.size)
                    locations.setdefault(sample, location)
                elif suffix in (".txt", ".json") and member.isfile():
                    found = _captions(archive, member, f"{tar}: {member.name}", on_problem)
                    captions[sample] = tuple(dict.fromkeys((*captions.get(sample, ()), *found)))
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError) as error:
        damage = f"{str(tar)!r} is damaged ({one_line(error)}): {len(locations)} images before the damage are used"
        on_problem(_compressed(tar, _start(tar)) or damage)
    for sample, location in locations.items():
        if captions.get(sample):
            yield CaptionedImage(f"{tar.stem}/{sample}", location, captions[sample])
        else:
            on_problem(f"{str(tar)!r}: the image {location.member!r} has no caption; it is left out")


def _refusal(member: tarfile.TarInfo, size: int) -> str:
    """Why a member is skipped; empty if it is read."""
    path = PurePosixPath(member.name)
    if member.isdir():
        return ""
    if not member.isreg() or member.issparse():
        return "is a link or a device, not a file"
    if path.is_absolute() or ".." in path.parts:
        return "has a path that leads outside the tar"
    if member.offset_data + member.size > size:
        return "is cut off"
    return ""


def _start(tar: Path) -> bytes:
    try:
        with tar.open("rb") as file:
            return file.read(8)
    except OSError:
        return b""


def _split(name: str) -> tuple[str, str]:
    """Sample name and suffix of a member; as in WebDataset, the sample name ends at the first dot of the file name."""
    path = PurePosixPath(name)
    stem, dot, rest = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, f".{rest.rpartition('.')[2].lower()}" if dot else ""


def _captions(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, on_problem: OnProblem) -> tuple[str, ...]:
    file = archive.extractfile(member)
    if file is None or member.size > LARGEST_TEXT:
        on_problem(f"{name!r} has {member.size} bytes, too many for captions; it is left out")
        return ()
    content = file.read().decode("utf-8-sig", errors="surrogateescape")
    if name.lower().endswith(".txt"):
        return usable_captions([line for line in content.splitlines() if line.strip()], name, on_problem)
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError) as error:
        on_problem(f"{name!r} is not JSON ({one_line(error)}); it is left out")
        return ()
    if not isinstance(entry, dict) or not (found := entry.get("captions") or entry.get("caption")):
        return ()  # other metadata of the image
    return usable_captions(found, name, on_problem)

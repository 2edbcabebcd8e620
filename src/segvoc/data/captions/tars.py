"""WebDataset's tars: members next to each other with one name are one sample. Nothing is ever unpacked.

A tar is read once, header by header, for the names, places and captions; a picture is then read at its place.
"""

import glob
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from segvoc.data.captions.images import CaptionedImage, OnProblem, TarMember, usable_captions
from segvoc.errors import UsageError, one_line
from segvoc.imaging.reading import IMAGE_SUFFIXES

TAR_SUFFIX = ".tar"

LARGEST_TEXT = 1 << 20
"""Largest member that is read as captions [bytes]."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


def tars_of_pattern(pattern: str, on_problem: OnProblem) -> list[Path]:
    """The tars of "set/{000000..000099}.tar" or "set/*.tar"; none where it is no pattern, or is a path that exists.

    on_problem: told of each tar of a range that is missing.

    Raises: UsageError: no such tar exists.
    """
    if not (_RANGE.search(pattern) or glob.has_magic(pattern)) or Path(pattern).exists():
        return []
    names = [name for part in _expanded(pattern) for name in (sorted(glob.glob(part)) or [part])]
    tars = [Path(name) for name in names if Path(name).is_file()]
    if not tars:
        raise UsageError(f"no tar matches {pattern!r}; check the pattern")
    for name in names:
        if not Path(name).is_file():
            on_problem(f"{name!r} is no file; it is left out")
    return tars


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, by its content.

    Raises: UsageError: it is compressed as a whole, so that no member can be read by itself.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UsageError(f"the captions {str(path)!r} can't be read: {error.strerror}; check the path") from None
    if refusal := _compressed(path, start):
        raise UsageError(refusal)
    return start[257:262] == b"ustar"


def images_in_tars(tars: Sequence[Path], on_problem: OnProblem) -> list[CaptionedImage]:
    """The captioned pictures of all tars, named "tar/sample"."""
    progress = tqdm(tars, desc="tars", unit="tar", disable=None if len(tars) > 1 else True)
    return list(chain.from_iterable(_images_in_tar(tar, on_problem) for tar in progress))


def _compressed(path: Path, start: bytes) -> str:
    """Why a file that starts so is not read; nothing where it is not compressed as a whole."""
    command = next((command for magic, command in _COMPRESSED.items() if start.startswith(magic)), None)
    if command is None:
        return ""
    return f"{str(path)!r} is compressed; unpack it first ({command}), pictures don't get smaller by it"


def _expanded(pattern: str) -> Iterator[str]:
    match = _RANGE.search(pattern)
    if match is None:
        yield pattern
        return
    first, last = match.groups()
    for number in range(int(first), int(last) + 1):
        yield from _expanded(f"{pattern[: match.start()]}{number:0{len(first)}d}{pattern[match.end() :]}")


def _images_in_tar(tar: Path, on_problem: OnProblem) -> Iterator[CaptionedImage]:
    samples: dict[str, dict[str, TarMember]] = {}
    captions: dict[str, tuple[str, ...]] = {}
    size = tar.stat().st_size
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                if refusal := _refusal(member, size):
                    on_problem(f"{str(tar)!r}: the member {member.name[:100]!r} {refusal}; it is left out")
                    continue
                sample, suffix = _split(member.name)
                if suffix in IMAGE_SUFFIXES:
                    samples.setdefault(sample, {}).setdefault(
                        "image", TarMember(tar, member.name, member.offset_data, member.size)
                    )
                elif suffix in (".txt", ".json") and member.isfile():
                    found = _captions(archive, member, f"{tar}: {member.name}", on_problem)
                    captions[sample] = tuple(dict.fromkeys((*captions.get(sample, ()), *found)))
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        damage = f"{str(tar)!r} is damaged ({one_line(error)}): {len(samples)} pictures before that are kept"
        on_problem(_compressed(tar, _start(tar)) or damage)
    for sample, members in samples.items():
        if captions.get(sample):
            yield CaptionedImage(f"{tar.stem}/{sample}", members["image"], captions[sample])
        else:
            on_problem(f"{str(tar)!r}: the picture {members['image'].name!r} has no caption; it is left out")


def _refusal(member: tarfile.TarInfo, size: int) -> str:
    """Why a member is not read; nothing where it is."""
    path = PurePosixPath(member.name)
    if member.isdir():
        return ""
    if not member.isreg() or member.issparse():
        return "is a link or a device, not a file"
    if path.is_absolute() or ".." in path.parts:
        return "has a name that leads out of the tar"
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
    """Sample and suffix of a member: WebDataset's sample ends at the first dot of the file's name."""
    path = PurePosixPath(name)
    stem, dot, rest = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, f".{rest.rpartition('.')[2].lower()}" if dot else ""


def _captions(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, on_problem: OnProblem) -> tuple[str, ...]:
    file = archive.extractfile(member)
    if file is None or member.size > LARGEST_TEXT:
        on_problem(f"{name!r} has {member.size} bytes, more than a caption can have; it is left out")
        return ()
    content = file.read().decode("utf-8-sig", errors="surrogateescape")
    if name.lower().endswith(".txt"):
        return usable_captions([line for line in content.splitlines() if line.strip()], name, on_problem)
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError) as error:
        on_problem(f"{name!r} is no JSON ({one_line(error)}); it is left out")
        return ()
    if not isinstance(entry, dict) or not (found := entry.get("captions") or entry.get("caption")):
        return ()  # other facts about the picture
    return usable_captions(found, name, on_problem)

"""Find captioned images: COCO's captions, or WebDataset's tars.

COCO         {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
WebDataset   tars with 000.jpg and 000.txt (or 000.json with "caption") side by side
"""

import glob
import json
import os
import re
import tarfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from segvoc.errors import InputError, UsageError, one_line
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.reading import decode_image, read_image
from segvoc.storage.files import digest_of, is_hidden, read_json

LONGEST_CAPTION = 10_000

OnProblem = Callable[[str], object]
"""Receives a line per skipped caption or image."""


class ImageLocation(NamedTuple):
    """An image file, or an image in a tar, read at its offset without unpacking."""

    file: str
    """Path of the image, or of the tar that contains it."""
    member: str = ""
    """Name inside the tar; empty for an image file."""
    offset: int = 0
    """Where the image begins in the tar [bytes]."""
    size: int = 0
    """Length in the tar [bytes]."""

    def read(self) -> UInt8[np.ndarray, "H W 3"]:
        """Read and decode the image; `InputError` if it is missing, damaged or too large."""
        if not self.member:
            return read_image(Path(self.file))
        name = f"{self.file}: {self.member}"
        try:
            with open(self.file, "rb") as file:
                file.seek(self.offset)
                content = file.read(self.size)
        except OSError as error:
            raise InputError(f"{name!r} can't be read: {error.strerror}; check the path and the disk") from None
        return decode_image(content, repr(name))


class CaptionedImage(NamedTuple):
    """The location of an image, and its captions."""

    name: str
    """Unique within its set; for files, the path below the set's folder without suffix."""
    location: ImageLocation
    captions: tuple[str, ...]


def file_fingerprint(path: str | os.PathLike[str]) -> tuple[object, ...]:
    """Size and modification time [ns] of a file, and whether this process may read it."""
    try:
        found = os.stat(path)
    except OSError:
        return ("missing",)
    # granting read access changes neither size nor modification time
    unreadable = () if os.access(path, os.R_OK) else ("unreadable",)
    return (found.st_size, found.st_mtime_ns, *unreadable)


def usable_captions(found: object, name: str, on_problem: OnProblem) -> tuple[str, ...]:
    """An image's captions, with white space normalized and duplicates removed; others go to `on_problem`."""
    entries = found if isinstance(found, list | tuple) else [found]
    captions = []
    for entry in entries:
        if problem := _problem(entry):
            on_problem(f"a caption of {name!r} {problem}; it is left out")
        else:
            captions.append(" ".join(unicodedata.normalize("NFC", str(entry)).split()))
    return tuple(dict.fromkeys(captions))


def _problem(entry: object) -> str:
    if not isinstance(entry, str):
        return f"is not text but {str(entry)[:40]!r}"
    if not entry.strip():
        return "is empty"
    if len(entry) > LONGEST_CAPTION:
        return f"has {len(entry)} characters, more than {LONGEST_CAPTION}"
    if any("\ud800" <= char <= "\udfff" or (char < " " and not char.isspace()) for char in entry):
        return f"is not clean text ({entry[:40]!r})"
    return ""


_FORMS = "captions are COCO's captions JSON, or WebDataset's tars"


def captions_in_file(path: Path, on_problem: OnProblem) -> dict[str, tuple[str, ...]]:
    """The captions of each image of COCO's JSON, by its `file_name`; `UsageError` if the file can't be read."""
    try:
        content = read_json(path)
    except OSError as error:
        raise UsageError(f"the captions {str(path)!r} can't be read: {error.strerror}; check the path") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the captions {str(path)!r} are not JSON ({one_line(error)}); {_FORMS}") from None
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise UsageError(f'the captions {str(path)!r} have no "annotations"; {_FORMS}')
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
    except (KeyError, TypeError):
        raise UsageError(f'the "images" of {str(path)!r} need "id" and "file_name"; download the file again') from None
    captions = dict[str, tuple[str, ...]]()
    for annotation in annotations:
        image = annotation.get("image_id") if isinstance(annotation, dict) else None
        if isinstance(image, int | str) and image in names:
            name = names[image]
            usable = usable_captions(annotation.get("caption"), name, on_problem)
            captions[name] = tuple(dict.fromkeys((*captions.get(name, ()), *usable)))
        else:
            on_problem(f"an annotation of {str(path)!r} belongs to no image ({str(annotation)[:60]!r}); it is left out")
    return captions


TAR_SUFFIX = ".tar"

LARGEST_TEXT = 1 << 20
"""Max size of a member with captions [bytes]."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_COMPRESSED = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}


def tars_of_pattern(pattern: str, on_problem: OnProblem) -> list[Path]:
    """The tars that a pattern such as "set/{000000..000099}.tar" or "set/*.tar" matches; `UsageError` if none does.

    An existing path, or one without wildcards, is no pattern. Missing tars of a range go to `on_problem`.
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
    """Whether a file is a tar, judged by its content; `UsageError` if it can't be read, or is compressed as a whole."""
    try:
        start = _start(path)
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
    """The captioned images of a tar, named "tar/sample"; those before the damage if it is damaged."""
    locations: dict[str, ImageLocation] = {}
    captions: dict[str, tuple[str, ...]] = {}
    start = b""
    try:
        size, start = tar.stat().st_size, _start(tar)
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                # tarfile keeps every member in memory, 1 kB each
                archive.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                if is_hidden(PurePosixPath(member.name).name):  # a Mac's ._0.jpg
                    continue
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
        on_problem(_compressed(tar, start) or damage)
    for sample, location in locations.items():
        if captions.get(sample):
            yield CaptionedImage(f"{tar.stem}/{sample}", location, captions[sample])
        else:
            on_problem(f"{str(tar)!r}: the image {location.member!r} has no caption; it is left out")


def _refusal(member: tarfile.TarInfo, size: int) -> str:
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


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


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
        return usable_captions([line for line in re.split("\r\n|\n|\r", content) if line.strip()], name, on_problem)
    try:
        entry = json.loads(content)
    except (ValueError, RecursionError) as error:
        on_problem(f"{name!r} is not JSON ({one_line(error)}); it is left out")
        return ()
    if not isinstance(entry, dict) or not (found := entry.get("captions") or entry.get("caption")):
        return ()  # other metadata of the image
    return usable_captions(found, name, on_problem)


IMAGES_PER_CHUNK = 1024


@dataclass(frozen=True)
class CaptionChunk:
    """A chunk of a caption set: a tar that is scanned on demand, or a list of images."""

    tar: str = ""
    """Path of the tar; empty for a list."""
    images: tuple[CaptionedImage, ...] = ()
    """The images of a list; empty for a tar."""

    def read(self, on_problem: OnProblem) -> Iterable[CaptionedImage]:
        """The captioned images."""
        return images_in_tar(Path(self.tar), on_problem) if self.tar else self.images

    def digest(self) -> str:
        """A digest of a tar's name, size and modification time, or of the list itself."""
        if self.tar:
            return digest_of(os.path.basename(self.tar), file_fingerprint(self.tar))
        return digest_of(self.images)


@dataclass(frozen=True, kw_only=True)
class CaptionSource:
    """A set of captioned images that are read on demand."""

    path: str
    """The path or pattern that the user gave."""
    chunks: tuple[CaptionChunk, ...]

    @property
    def name(self) -> str:
        """A short name for reports."""
        return Path(self.path).name

    def empty(self) -> UsageError:
        """The error for a set without any captioned image."""
        return UsageError(
            f"no image of {self.path!r} has a caption; the images of COCO's captions are in the file's own folder or "
            "in the --images folder, those of WebDataset in its tars"
        )


def find_captions(
    captions: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    on_problem: OnProblem = lambda message: None,
) -> CaptionSource:
    """Find the captioned images of a path, without reading images or scanning tars.

    Args:
        captions: COCO's captions JSON, a tar, a folder of tars, or a pattern of tars ("set/{000000..000099}.tar",
            "set/*.tar").
        images: the folder that the `file_name` of COCO's images starts from; by default the JSON's own folder.
        on_problem: receives one line for each caption or image that is skipped.

    `UsageError` if the path doesn't exist, its format is unknown, or no image has a caption.
    """
    name = os.fspath(captions)
    tars, found = tars_of_pattern(name, on_problem), []
    if tars:
        pass
    elif os.path.isdir(name):
        tars = sorted(path for path in Path(name).iterdir() if path.suffix == TAR_SUFFIX and path.is_file())
        if not tars:
            raise UsageError(f"the folder {name!r} has no tars; {_FORMS}")
    elif not os.path.exists(name):
        raise UsageError(f"the captions {name!r} do not exist; check the path")
    elif not os.path.isfile(name):
        raise UsageError(f"the captions {name!r} are a pipe or a device, not a file; save them to a file first")
    elif is_tar(Path(name)):
        tars = [Path(name)]
    else:
        found = _with_images(Path(name), Path(name).parent if images is None else Path(images), on_problem)
    starts = range(0, len(found), IMAGES_PER_CHUNK)
    chunks = [CaptionChunk(tar=str(tar)) for tar in tars]
    chunks += [CaptionChunk(images=tuple(found[start : start + IMAGES_PER_CHUNK])) for start in starts]
    source = CaptionSource(path=name, chunks=tuple(chunks))
    if not chunks:
        raise source.empty()
    return source


def _with_images(path: Path, folder: Path, on_problem: OnProblem) -> list[CaptionedImage]:
    if not folder.is_dir():
        raise UsageError(f"the image folder {str(folder)!r} does not exist; check the path")
    images = []
    for name, captions in captions_in_file(path, on_problem).items():
        file = os.path.normpath(os.path.join(folder, name))  # a string: millions of `Path`s take minutes
        if not os.path.isfile(file):
            on_problem(f"the image {name!r} is not in {str(folder)!r}; its captions are left out")
        elif captions:
            images.append(CaptionedImage(_inner(name), ImageLocation(file), captions))
        else:
            on_problem(f"{name!r} has no usable caption; it is left out")
    return images


def _inner(name: str) -> str:
    """A name without suffix for an image, wherever it is; drawings named after it must stay inside the run's folder."""
    return "/".join(piece for piece in Path(name).with_suffix("").parts if piece not in (os.sep, ".."))

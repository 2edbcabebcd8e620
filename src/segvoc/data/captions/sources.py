"""Find captioned images; the content of a path decides which format it has.

folder       photo.txt, one caption per line, beside photo.jpg or in a folder of its own, sub-folders included
COCO         {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
JSON         {"photo": ["a caption", ...]}, or a list of {"image": "photo.jpg", "caption": "..."}
JSON Lines   {"image": "photo.jpg", "caption": "..."} on each line, or "captions": [...]
table        CSV or TSV whose header has the columns image and caption
WebDataset   tars with 000.jpg and 000.txt (or 000.json with "caption") side by side
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from segvoc.data.captions.caption_files import captions_in_file
from segvoc.data.captions.images import (
    CaptionedImage,
    ImageLocation,
    OnProblem,
    file_fingerprint,
    usable_captions,
)
from segvoc.data.captions.tars import TAR_SUFFIX, images_in_tar, is_tar, tars_of_pattern
from segvoc.errors import UsageError
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.imaging.result_paths import image_paths
from segvoc.storage.digests import digest_of

IMAGES_PER_CHUNK = 1024
"""Images of a chunk where the set is not made of tars."""


@dataclass(frozen=True)
class CaptionChunk:
    """A chunk of a caption set: a tar that is scanned on demand, or a list of images."""

    tar: str = ""
    """Path of the tar; empty for a list."""
    images: tuple[CaptionedImage, ...] = ()
    """The images of a list; empty for a tar."""

    def read(self, on_problem: OnProblem) -> Iterable[CaptionedImage]:
        """The captioned images; `on_problem` receives one line for each member of a tar that is skipped."""
        return images_in_tar(Path(self.tar), on_problem) if self.tar else self.images

    def digest(self) -> str:
        """A digest of a tar's name, size and modification time, or of the list itself."""
        if self.tar:
            return digest_of(os.path.basename(self.tar), file_fingerprint(self.tar))
        return digest_of(self.images)


@dataclass(frozen=True, kw_only=True)
class CaptionSource:
    """A set of captioned images, none of which has been read."""

    path: str
    """The path or pattern that the user gave."""
    chunks: tuple[CaptionChunk, ...]
    """Chunks that can be read independently of each other."""

    @property
    def name(self) -> str:
        """A short name for reports."""
        return Path(self.path).name

    def images(self, on_problem: OnProblem = lambda message: None) -> Iterator[CaptionedImage]:
        """All captioned images in order, one chunk in memory at a time.

        Args:
            on_problem: receives one line for each member of a tar that is skipped.

        Raises:
            UsageError: no image has a caption.
        """
        empty = True
        for chunk in self.chunks:
            for image in chunk.read(on_problem):
                empty = False
                yield image
        if empty:
            raise self.empty()

    def empty(self) -> UsageError:
        """The error for a set without any captioned image."""
        return UsageError(
            f"no image of {self.path!r} has a caption; a folder has photo.txt beside photo.jpg, and the images of a "
            "caption file are in the file's own folder or in the one given with --images"
        )


def find_captions(
    captions: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    on_problem: OnProblem = lambda message: None,
) -> CaptionSource:
    """Find the captioned images that a path names. Images are not read, and tars are not scanned yet.

    Args:
        captions: a folder, a caption file, a tar, or a pattern of tars ("set/{000000..000099}.tar", "set/*.tar").
        images: the folder of the images that a caption file names or that a folder of texts belongs to; by default
            the file's own folder, or the texts' folder. Names may lack their suffix ("000000294832").
        on_problem: receives one line for each caption or image that is skipped.

    Raises:
        UsageError: the path does not exist, its format is unknown, or no image has a caption.
    """
    name = os.fspath(captions)
    tars, found = tars_of_pattern(name, on_problem), []
    if tars:
        pass
    elif os.path.isdir(name):
        tars = sorted(path for path in Path(name).iterdir() if path.suffix == TAR_SUFFIX and path.is_file())
        found = [] if tars else _in_folder(Path(name), images, on_problem)
    elif not os.path.exists(name):
        raise UsageError(f"the captions {name!r} do not exist; check the path")
    elif not os.path.isfile(name):
        raise UsageError(f"the captions {name!r} are a pipe or a device, not a file; save them to a file first")
    elif is_tar(Path(name)):
        tars = [Path(name)]
    else:
        folder = Path(name).parent if images is None else Path(images)
        found = _named(captions_in_file(Path(name), on_problem), folder, on_problem)
    chunks = [CaptionChunk(tar=str(tar)) for tar in tars]
    for start in range(0, len(found), IMAGES_PER_CHUNK):
        chunks.append(CaptionChunk(images=tuple(found[start : start + IMAGES_PER_CHUNK])))
    source = CaptionSource(path=name, chunks=tuple(chunks))
    if not chunks:
        raise source.empty()
    return source


def _in_folder(folder: Path, images: str | os.PathLike[str] | None, on_problem: OnProblem) -> list[CaptionedImage]:
    found = []
    for image in image_paths([_existing(folder if images is None else Path(images))]):
        if image.problem is not None:
            continue
        text = folder / f"{image.stem}.txt"
        try:
            lines = text.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            on_problem(f"{str(image.path)!r} has no captions: {str(text)!r}: {reason}; it is left out")
            continue
        captions = usable_captions([line for line in lines if line.strip()], str(text), on_problem)
        if captions:
            found.append(CaptionedImage(image.stem, ImageLocation(str(image.path)), captions))
        else:
            on_problem(f"{str(text)!r} holds no caption; its image is left out")
    return found


def _named(captions: dict[str, tuple[str, ...]], folder: Path, on_problem: OnProblem) -> list[CaptionedImage]:
    """The images below a folder that have these names, with or without suffix."""
    found = _ImageNames.below(_existing(folder))
    joined: dict[str, list[str]] = {}
    for name, texts in captions.items():
        path, problem = found.find(name)
        if path is None:
            on_problem(f"{problem}; its captions are left out")
        elif texts:
            joined.setdefault(path, []).extend(texts)
        else:
            on_problem(f"{name!r} has no usable caption; it is left out")
    return [
        CaptionedImage(found.stems.get(path) or _inner(path), ImageLocation(path), tuple(dict.fromkeys(texts)))
        for path, texts in joined.items()
    ]


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"the image folder {str(folder)!r} does not exist; check the path")
    return folder


def _inner(path: str) -> str:
    """A name for an image outside of the folder; drawings named after it must stay inside the run's folder."""
    return "/".join(piece for piece in Path(path).with_suffix("").parts if piece not in (os.sep, ".."))


@dataclass(frozen=True, kw_only=True)
class _ImageNames:
    """The images below a folder, by every name they may go by. Paths are strings: millions of `Path`s take minutes."""

    folder: str
    stems: Mapping[str, str]
    """Path below the folder without suffix, by path."""
    shorter: Mapping[str, list[str]]
    """Paths by shortened name: without suffix, without sub-folder, or without both."""

    @classmethod
    def below(cls, folder: Path) -> "_ImageNames":
        stems = {str(image.path): image.stem for image in image_paths([folder]) if image.problem is None}
        shorter: dict[str, list[str]] = {}
        for path, stem in stems.items():
            for name in {stem, os.path.basename(path), os.path.basename(stem)}:
                shorter.setdefault(name, []).append(path)
        return cls(folder=str(folder), stems=stems, shorter=shorter)

    def find(self, name: str) -> tuple[str | None, str]:
        """The path of the image with this name; or None and the reason."""
        path = os.path.normpath(os.path.join(self.folder, name))
        suffixed = os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        if path in self.stems:
            return path, ""
        for shorter in (name, os.path.splitext(name)[0] if suffixed else ""):
            if candidates := self.shorter.get(shorter):
                if len(candidates) == 1:
                    return candidates[0], ""
                return None, f"{name!r} may be {candidates[0]!r} or {candidates[1]!r}"
        if suffixed and os.path.isfile(path):
            return path, ""
        return None, f"the image {name!r} is not in {self.folder!r}"

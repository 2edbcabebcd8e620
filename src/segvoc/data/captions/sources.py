"""Where captioned pictures come from: a path tells by its content which of the formats it is.

folder       photo.txt, a caption a line, beside photo.jpg or in a folder of its own, sub-folders included
COCO         {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}
JSON         {"photo": ["a caption", ...]}, or a list of {"image": "photo.jpg", "caption": "..."}
JSON Lines   {"image": "photo.jpg", "caption": "..."} in each line; "captions": [...] will do as well
table        CSV or TSV with a header that has the columns image and caption
WebDataset   tars with 000.jpg and 000.txt (or 000.json with "caption") next to each other
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segvoc.data.captions.caption_files import captions_in_file
from segvoc.data.captions.images import CaptionedImage, CaptionedImages, ImageFile, OnProblem, usable_captions
from segvoc.data.captions.tars import TAR_SUFFIX, images_in_tars, is_tar, tars_of_pattern
from segvoc.errors import UsageError
from segvoc.imaging.reading import IMAGE_SUFFIXES
from segvoc.imaging.result_paths import image_paths


def captioned_images(
    captions: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    on_problem: OnProblem = lambda message: None,
) -> CaptionedImages:
    """The captioned pictures that a path names; none of them is read yet.

    Args:
        captions: a folder, a file of captions, a tar, or a pattern of tars ("set/{000000..000099}.tar", "set/*.tar").
        images: the folder of the pictures that a file of captions names, or a folder of texts has; without it they lie
            in the file's own folder, or beside the texts. Names may lack their suffix ("000000294832").
        on_problem: told of each caption, picture or member of a tar that is passed over, in one line.

    Raises:
        UsageError: there is no such path, it is of no known format, or no picture of it has a caption.
    """
    name = os.fspath(captions)
    if tars := tars_of_pattern(name, on_problem):
        found = images_in_tars(tars, on_problem)
    elif os.path.isdir(name):
        shards = sorted(path for path in Path(name).iterdir() if path.suffix == TAR_SUFFIX and path.is_file())
        found = images_in_tars(shards, on_problem) if shards else _in_folder(Path(name), images, on_problem)
    elif not os.path.exists(name):
        raise UsageError(f"the captions {name!r} do not exist; check the path")
    elif not os.path.isfile(name):
        raise UsageError(f"the captions {name!r} are a pipe or a device, not a file; save them to a file first")
    elif is_tar(Path(name)):
        found = images_in_tars([Path(name)], on_problem)
    else:
        folder = Path(name).parent if images is None else Path(images)
        found = _named(captions_in_file(Path(name), on_problem), folder, on_problem)
    if not found:
        raise UsageError(
            f"no picture of {name!r} has a caption; a folder has photo.txt beside photo.jpg, a file of captions has "
            "its pictures in its own folder or in the one given as that of the images"
        )
    return CaptionedImages(name=Path(name).name, images=tuple(found))


def _in_folder(folder: Path, images: str | os.PathLike[str] | None, on_problem: OnProblem) -> list[CaptionedImage]:
    found = []
    for picture in image_paths([_existing(folder if images is None else Path(images))]):
        if picture.problem is not None:
            continue
        text = folder / f"{picture.stem}.txt"
        try:
            lines = text.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = "is no UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            on_problem(f"{str(picture.path)!r} has no captions: {str(text)!r}: {reason}; it is left out")
            continue
        captions = usable_captions([line for line in lines if line.strip()], str(text), on_problem)
        if captions:
            found.append(CaptionedImage(picture.stem, ImageFile(picture.path), captions))
        else:
            on_problem(f"{str(text)!r} holds no caption; its picture is left out")
    return found


def _named(captions: dict[str, tuple[str, ...]], folder: Path, on_problem: OnProblem) -> list[CaptionedImage]:
    """The pictures of these names, with or without suffix, below a folder."""
    found = _Pictures.below(_existing(folder))
    joined: dict[str, list[str]] = {}
    for name, texts in captions.items():
        path, problem = found.named(name)
        if path is None:
            on_problem(f"{problem}; its captions are left out")
        elif texts:
            joined.setdefault(path, []).extend(texts)
        else:
            on_problem(f"{name!r} has no usable caption; it is left out")
    return [
        CaptionedImage(found.stems.get(path) or _inner(path), ImageFile(Path(path)), tuple(dict.fromkeys(texts)))
        for path, texts in joined.items()
    ]


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"the folder of the pictures {str(folder)!r} does not exist; check the path")
    return folder


def _inner(path: str) -> str:
    """A stem for a picture outside of the folder: what is drawn of it must not lead out of the run's folder either."""
    return "/".join(part for part in Path(path).with_suffix("").parts if part not in (os.sep, ".."))


@dataclass(frozen=True, kw_only=True)
class _Pictures:
    """The pictures below a folder. Paths are strings here: millions of `Path`s take minutes.

    stems: of each path. shorter: paths by what they may be called: without suffix, or without sub-folder, or both.
    """

    folder: str
    stems: Mapping[str, str]
    shorter: Mapping[str, list[str]]

    @classmethod
    def below(cls, folder: Path) -> "_Pictures":
        stems = {str(picture.path): picture.stem for picture in image_paths([folder]) if picture.problem is None}
        shorter: dict[str, list[str]] = {}
        for path, stem in stems.items():
            for name in {stem, os.path.basename(path), os.path.basename(stem)}:
                shorter.setdefault(name, []).append(path)
        return cls(folder=str(folder), stems=stems, shorter=shorter)

    def named(self, name: str) -> tuple[str | None, str]:
        """The picture that a name means, or why there is none."""
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
        return None, f"the picture {name!r} is not in {self.folder!r}"

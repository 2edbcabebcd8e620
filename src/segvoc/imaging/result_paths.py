"""The images named by a call, and the paths of their results."""

import glob
import os
import tempfile
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from segvoc.errors import UsageError
from segvoc.imaging.image_formats import DICOM_EXPORT, DICOM_SUFFIXES, IMAGE_SUFFIXES
from segvoc.imaging.pictures import url_problem, web_address
from segvoc.imaging.reading import STANDARD_INPUT
from segvoc.storage.files import JUNK_FOLDERS, is_hidden, read_json
from segvoc.vocabulary.names import folded

PathLike = str | os.PathLike[str]

_Files = TypeVar("_Files", bound="ResultFiles")

_MOST_SUFFIXES = 6
"""Maximum number of suffixes in the line about skipped files."""


RESULTS = "results"
"""Under this name, label maps and overlays of earlier calls are counted among skipped files."""


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """An image to label."""

    path: Path
    stem: str
    """Path of its results below the output folder, without suffix ("sub/photo")."""
    problem: str | None = None
    """One-line reason why there is nothing to read (a URL, an empty folder, a pattern without a match); None for a
    file, readable or not."""


@dataclass(frozen=True, kw_only=True)
class ResultFiles(ABC):
    """The result files of an image, in any form."""

    stem: str
    """Their common name below the output folder, may include subfolders."""
    report: Path
    """The file with the report: `photo.json`."""

    @property
    @abstractmethod
    def shown(self) -> Path:
        """The path to show to the user."""

    @abstractmethod
    def __iter__(self) -> Iterator[Path]:
        """The files in the order of writing: if the last exists, so do the others."""

    def read_report(self) -> Any:
        """Read the report; raises `OSError` and `ValueError`."""
        return read_json(self.report)


@dataclass(frozen=True, kw_only=True)
class ResultPaths(ResultFiles):
    """The result files of an image: label map, report, and optionally an overlay and maps of parts and objects."""

    label_map: Path
    """`photo.png`; `scene.tif` of a georeferenced image."""
    overlay: Path | None
    """`photo.overlay.png`; None without an overlay."""
    part_map: Path | None = None
    """`photo.parts.png`; None without parts."""
    object_map: Path | None = None
    """`photo.objects.png`; None without objects."""
    map_file: Path | None = None
    """`scene.geojson` or `scene.gpkg`; None without a map."""
    tracks: tuple[Path, ...] = ()
    """`video.tracks.jsonl`, and the tracks in other formats; empty unless objects of a video are tracked."""

    @classmethod
    def below(
        cls,
        folder: PathLike,
        stem: str,
        *,
        parts: bool = False,
        objects: bool = False,
        overlay: bool = True,
        placed: bool = False,
        map_format: str | None = None,
    ) -> "ResultPaths":
        """The files of these kinds below a folder; `stem` may include subfolders, `placed` means georeferenced."""
        base = Path(folder)
        return cls(
            stem=stem,
            label_map=base / f"{stem}.{'tif' if placed else 'png'}",
            overlay=base / f"{stem}.overlay.png" if overlay else None,
            report=base / f"{stem}.json",
            part_map=base / f"{stem}.parts.png" if parts else None,
            object_map=base / f"{stem}.objects.png" if objects else None,
            map_file=None if map_format is None else base / f"{stem}.{map_format}",
        )

    def __iter__(self) -> Iterator[Path]:
        """Yield the files, the report last."""
        maps = (self.label_map, self.part_map, self.object_map, self.map_file)
        return (path for path in (*maps, self.overlay, *self.tracks, self.report) if path is not None)

    @property
    def shown(self) -> Path:
        """The overlay, else the label map."""
        return self.overlay or self.label_map

    def stale(self) -> list[Path]:
        """Files of an earlier run of this image that this run doesn't write: maps of parts or objects, an overlay.

        The earlier report tells whether it had parts and objects. If there is an image named "photo.parts",
        "photo.objects" or "photo.overlay", the file is the label map of that image.
        """
        stem = self.report.name.removesuffix(".json")
        all_kinds = {"parts": self.part_map, "objects": self.object_map, "overlay": self.overlay}
        left = {
            kind: path
            for kind, written in all_kinds.items()
            if written is None
            # not `Path.is_file`, which raises for a name that is too long to exist
            and os.path.isfile(path := self.report.with_name(f"{stem}.{kind}.png"))
            and not os.path.exists(path.with_suffix(".json"))
        }
        try:
            earlier = read_json(self.report) if left else None
        except (OSError, ValueError):
            earlier = None
        if not isinstance(earlier, dict):
            return []
        classes = earlier.get("classes")
        had = {"overlay"} | ({"parts"} & earlier.keys())
        if isinstance(classes, list) and any(isinstance(entry, dict) and "objects" in entry for entry in classes):
            had.add("objects")
        return [path for kind, path in left.items() if kind in had]


def image_paths(
    inputs: Iterable[PathLike], skip: PathLike | None = None, skipped: Counter[str] | None = None
) -> list[InputImage]:
    """Resolve inputs to images, in order.

    A file stands for itself, with its name as stem. A folder stands for all files below it with an image suffix
    (`IMAGE_SUFFIXES`), sorted by path, with their paths below the folder as stems. Hidden files and folders are
    skipped, and so are label maps and overlays beside their report; symlinked folders aren't followed. A pattern
    (`*`, `?`, `[...]`, `**`) that isn't an existing file stands for its matches, as in a shell. A URL (http, https)
    stands for itself, with its file name as stem, and "-" for standard input ("stdin"). A missing file is included:
    reading it fails later.

    `skip` is a folder to skip inside folders: the output folder, which also contains images. `skipped` counts the
    skipped files of folders, by lower-case suffix ("" for none), those of results as `RESULTS`, and skipped folders of
    thumbnails and trash (`JUNK_FOLDERS`), whose names end with a slash.
    """
    counted: Counter[str] = Counter() if skipped is None else skipped
    return [image for source in inputs for image in _expanded(os.fspath(source), skip, counted)]


def skipped_files_line(skipped: Counter[str]) -> str | None:
    """A line about skipped files of folders, which aren't images; None if there are none."""
    junk = sorted(name for name in skipped if name.endswith("/"))
    results = skipped[RESULTS]
    suffixes = skipped - Counter({RESULTS: results, **{name: skipped[name] for name in junk}})
    lines = [f"skipped {results} label maps and overlays of earlier calls"] if results else []
    if total := suffixes.total():
        common = suffixes.most_common(_MOST_SUFFIXES)
        kinds = [f"{count} {suffix or 'without a suffix'}" for suffix, count in common]
        if others := total - sum(count for _, count in common):
            kinds.append(f"{others} others")
        files = "1 file that isn't an image by its" if total == 1 else f"{total} files that aren't images by their"
        lines.append(f"skipped {files} suffix: {', '.join(kinds)}")
    if junk:
        lines.append(f"skipped folders of thumbnails and trash: {', '.join(junk)}")
    if any(suffix in suffixes for suffix in DICOM_SUFFIXES):
        lines.append(f"a DICOM file: {DICOM_EXPORT}")
    return "; ".join(lines) or None


def _expanded(source: str, skip: PathLike | None, skipped: Counter[str]) -> list[InputImage]:
    if not source:
        return [_nothing(source, "an empty name is not an image; check the quotes")]
    if (url := web_address(source)) is not None:
        # an empty query keeps the slash at the end, which paths lose
        path = Path(f"{url}?" if url.endswith("/") else url)
        if web_address(path) == str(url) or url.endswith("/"):  # other addresses don't survive as paths
            return [InputImage(path=path, stem=Path(urlsplit(url).path).stem or "image")]
    if problem := url_problem(source):
        return [_nothing(source, problem)]
    if source == STANDARD_INPUT and not os.path.lexists(source):
        return [InputImage(path=Path(source), stem="stdin")]
    if os.path.isdir(source):
        return _below(source, skip, skipped)
    if not os.path.lexists(source) and glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))
        if not matches:
            return [_nothing(source, f"no file matches {source!r}; check the pattern")]
        return [image for match in matches for image in _expanded(match, skip, skipped)]
    return [InputImage(path=Path(source), stem=Path(source).stem)]


def _nothing(source: str, problem: str) -> InputImage:
    return InputImage(path=Path(source), stem="", problem=problem)


def _below(folder: str, skip: PathLike | None, skipped: Counter[str]) -> list[InputImage]:
    left_out = None if skip is None else os.path.realpath(skip)
    paths: list[Path] = []
    problems: list[InputImage] = []

    def note(error: OSError) -> None:
        # a folder that can't be listed is a failed input; the others are read
        problem = f"folder {str(error.filename)!r} can't be listed: {error.strerror}; change its permissions"
        problems.append(_nothing(str(error.filename), problem))

    for parent, folders, files in os.walk(folder, onerror=note):
        skipped.update(f"{name}/" for name in folders if name.lower() in JUNK_FOLDERS)
        folders[:] = [
            name for name in folders if not is_hidden(name) and os.path.realpath(os.path.join(parent, name)) != left_out
        ]
        for name in (name for name in files if not name.startswith(".")):
            if (suffix := os.path.splitext(name)[1].lower()) not in IMAGE_SUFFIXES:
                skipped[suffix] += 1
            elif is_result(Path(parent, name)):
                skipped[RESULTS] += 1
            else:
                paths.append(Path(parent, name))
    if not paths and not problems:
        problems.append(_nothing(folder, f"folder {folder!r} has no images (.jpg, .png, ...); choose another"))
    images = [InputImage(path=path, stem=path.relative_to(folder).with_suffix("").as_posix()) for path in sorted(paths)]
    return images + problems


def is_result(path: Path) -> bool:
    """Whether a file is a label map or an overlay beside its report, which `segvoc segment` has written."""
    for kind in ("", ".overlay", ".parts", ".objects") if path.suffix == ".png" else ():
        report = path.with_name(f"{path.stem.removesuffix(kind)}.json")
        # not `Path.is_file`, which raises for a name that is too long to exist
        if path.stem.endswith(kind) and os.path.isfile(report):
            with suppress(OSError), report.open("rb") as text, path.open("rb") as png:
                # a photo may be beside its report too, but is neither a palette of 8 bits nor a gray of 16
                is_map = png.read(26)[24:] in (b"\x08\x03", b"\x10\x00")
                if text.read(len(_REPORT)) == _REPORT and (is_map or kind == ".overlay"):
                    return True
    return False


_REPORT = b'{\n "image": '
"""How reports begin."""


def plan_files(
    images: Sequence[InputImage], out_dir: PathLike, files_of: Callable[[InputImage, str], _Files]
) -> list[_Files | None]:
    """Plan the result files of each image (None for an image with a problem), without writing or decoding anything.

    Images whose results would collide, because their names only differ in suffix or case, keep their suffixes: the
    results of a.jpg and a.png are a.jpg.png, a.png.png, ... This depends on all images of the call. `files_of` gives
    the files of an image with a stem.

    `UsageError` if `out_dir` is a file; or two results would be the same file in spite of their suffixes, including on
    case-insensitive file systems; or a result would overwrite an input, by any path or link.
    """
    if not os.path.isdir(out_dir) and (os.path.exists(out_dir) or Path(out_dir).suffix.lower() in IMAGE_SUFFIXES):
        raise UsageError(f"the output folder {os.fspath(out_dir)!r} is a file, or named like one; choose another --out")
    read = [image for image in images if image.problem is None]

    def files(stems: Sequence[str]) -> list[_Files]:
        return [files_of(image, stem) for image, stem in zip(read, stems, strict=True)]

    whole = [image.stem + image.path.suffix for image in read]
    stems = distinct_stems(
        [image.stem for image in read],
        whole,
        lambda stems: {index for first, second, _ in _collisions(read, files(stems)) for index in (first, second)},
    )
    results = files(stems)
    for first, second, path in _collisions(read, results):
        if path in results[first] or not tells_case_apart(out_dir):
            raise UsageError(
                f"{str(read[first].path)!r} and {str(read[second].path)!r} would both write {str(path)!r}; "
                "rename one, or label them in two calls with different --out folders"
            )
    refuse_overwriting([image.path for image in read], [path for paths in results for path in paths])
    planned = iter(results)
    return [next(planned) if image.problem is None else None for image in images]


def _collisions(images: Sequence[InputImage], files: Sequence[ResultFiles]) -> Iterator[tuple[int, int, Path]]:
    """Pairs of images with a common result, apart from case, and that of the second; `UsageError` for equal images."""
    owners: dict[Path | str, int] = {}
    for index, results in enumerate(files):
        for path in results:
            if (other := owners.setdefault(path, index)) == index:
                other = owners.setdefault(folded(str(path)), index)
            if other == index:
                continue
            if os.path.realpath(images[other].path) == os.path.realpath(images[index].path):
                twice = f"{str(images[index].path)!r} is given twice (also as {str(images[other].path)!r})"
                raise UsageError(f"{twice}; give it once")
            yield other, index, path


def distinct_stems(
    short: Sequence[str], whole: Sequence[str], collide: Callable[[Sequence[str]], Set[int]]
) -> list[str]:
    """Choose the short names, but the whole ones of those that collide, by `collide`: the indices of names that do.

    This repeats, since whole names may collide with short ones: a.jpg and a.png with a.jpg.png.
    """
    stems = [*short]
    while longer := {index for index in collide(stems) if stems[index] != whole[index]}:
        stems = [whole[index] if index in longer else stem for index, stem in enumerate(stems)]
    return stems


def equal_names(names: Sequence[str]) -> set[int]:
    """Indices of the names that are there several times."""
    count = Counter(names)
    return {index for index, name in enumerate(names) if count[name] > 1}


def tells_case_apart(folder: PathLike) -> bool:
    """Whether the file system of a folder, which needn't exist yet, distinguishes case and accent encodings."""
    place = Path(folder)
    while not place.is_dir() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=".segvoc-\u00e9-", suffix=".tmp", dir=place) as file:
            path = Path(file.name)
            others = path.name.upper(), unicodedata.normalize("NFD", path.name)
            return not any(path.with_name(name).exists() for name in others)
    except OSError:
        return False


def refuse_overwriting(inputs: Iterable[PathLike], results: Iterable[Path]) -> None:
    """Raise `UsageError` if a result is the same file as an input (following links), or has a missing input's path."""
    owners: dict[object, PathLike] = {}
    missing: dict[str, PathLike] = {}
    for path in inputs:
        if (identity := _identity(path)) is None:
            missing[os.path.realpath(path)] = path
        else:
            owners[identity] = path
    for result in results:
        owner = owners.get(_identity(result))
        if owner is None and missing:
            owner = missing.get(os.path.realpath(result))
        if owner is not None:
            raise UsageError(
                f"the result {str(result)!r} would overwrite the input {os.fspath(owner)!r}; "
                "choose another folder (--out)"
            )


def _identity(path: PathLike) -> tuple[int, int] | None:
    """Device and inode of a file, equal for all of its names and links; None if it doesn't exist."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino

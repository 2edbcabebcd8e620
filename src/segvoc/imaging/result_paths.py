"""Which images a call names, and which files their results go to."""

import glob
import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segvoc.errors import UsageError
from segvoc.imaging.reading import IMAGE_SUFFIXES, url_problem

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class InputImage:
    """One image to label."""

    path: Path
    """Where it is, as it was named."""
    stem: str
    """The place of its results below the output folder, without suffix ("sub/photo")."""
    problem: str | None = None
    """One line that says why there is nothing to read (a URL, an empty folder, a pattern without a match); None for a
    file, whether or not it can be read."""


@dataclass(frozen=True, kw_only=True)
class ResultPaths:
    """The files of one labelled image: three, and a fourth if parts were asked for."""

    label_map: Path
    """`photo.png`"""
    overlay: Path
    """`photo.overlay.png`"""
    report: Path
    """`photo.json`"""
    part_map: Path | None = None
    """`photo.parts.png`; None without parts."""

    @classmethod
    def below(cls, folder: PathLike, stem: str, *, parts: bool = False) -> "ResultPaths":
        """`folder/stem.png`, `folder/stem.overlay.png` and `folder/stem.json`.

        Args:
            folder: the output folder.
            stem: the common name of the files, which may begin with sub-folders.
            parts: add `folder/stem.parts.png`.
        """
        base = Path(folder)
        return cls(
            label_map=base / f"{stem}.png",
            overlay=base / f"{stem}.overlay.png",
            report=base / f"{stem}.json",
            part_map=base / f"{stem}.parts.png" if parts else None,
        )

    def __iter__(self) -> Iterator[Path]:
        """In the order of writing: once the report is there, the others are too."""
        parts = () if self.part_map is None else (self.part_map,)
        return iter((self.label_map, *parts, self.overlay, self.report))

    def stale_part_map(self) -> Path | None:
        """The part map that an earlier run left for this image, if this run has no parts; None if there is none.

        The file is that map only if the earlier run's report has parts, and if there is no image called "photo.parts",
        whose label map it would be.
        """
        stem = self.report.name.removesuffix(".json")
        left = self.report.with_name(f"{stem}.parts.png")
        if self.part_map is not None or not left.is_file() or self.report.with_name(f"{stem}.parts.json").exists():
            return None
        try:
            earlier = json.loads(self.report.read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return left if isinstance(earlier, dict) and "parts" in earlier else None


def image_paths(inputs: Iterable[PathLike], skip: PathLike | None = None) -> list[InputImage]:
    """All images that the inputs name, in their order.

    A file stands for itself, with its name as stem. A folder stands for all files below it that have an image's suffix
    (`IMAGE_SUFFIXES`), sorted by path, with their paths below that folder as stems; hidden files and folders are
    skipped, and linked folders are not entered. A pattern (`*`, `?`, `[...]`, `**`) that is not the name of an existing
    file stands for its matches, as in a shell. A missing file is included: reading it fails later.

    Args:
        inputs: files, folders and patterns.
        skip: a folder that is skipped inside folders: that of the results, which are images too.
    """
    return [image for source in inputs for image in _expanded(os.fspath(source), skip)]


def _expanded(source: str, skip: PathLike | None) -> list[InputImage]:
    if not source:
        return [_nothing(source, "an empty name is not an image; check the quotes")]
    if problem := url_problem(source):
        return [_nothing(source, problem)]
    if os.path.isdir(source):
        return _below(source, skip)
    if not os.path.lexists(source) and glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))
        if not matches:
            return [_nothing(source, f"no file matches {source!r}; check the pattern")]
        return [image for match in matches for image in _expanded(match, skip)]
    return [InputImage(path=Path(source), stem=Path(source).stem)]


def _nothing(source: str, problem: str) -> InputImage:
    return InputImage(path=Path(source), stem="", problem=problem)


def _below(folder: str, skip: PathLike | None) -> list[InputImage]:
    skipped = None if skip is None else os.path.realpath(skip)
    found: list[Path] = []
    problems: list[InputImage] = []

    def note(error: OSError) -> None:
        # a folder that can't be listed is a failed input; the others are read
        problem = f"folder {str(error.filename)!r} can't be listed: {error.strerror}; change its permissions"
        problems.append(_nothing(str(error.filename), problem))

    for parent, folders, files in os.walk(folder, onerror=note):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(parent, name)) != skipped
        ]
        found += [
            Path(parent, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    if not found and not problems:
        problems.append(_nothing(folder, f"folder {folder!r} has no images (.jpg, .png, ...); choose another"))
    images = [InputImage(path=path, stem=path.relative_to(folder).with_suffix("").as_posix()) for path in sorted(found)]
    return images + problems


def plan_results(images: Sequence[InputImage], out_dir: PathLike, *, parts: bool = False) -> list[ResultPaths | None]:
    """Where the results of each image go (None for one with a problem); nothing is read or written.

    Args:
        images: the images of a call.
        out_dir: the output folder.
        parts: whether the results include part maps.

    Raises:
        UsageError: `out_dir` is a file; or two results would be the same file, also if their names differ only in case
            (macOS and Windows don't distinguish them); or a result would overwrite an input, by any path or link.
    """
    if os.path.exists(out_dir) and not os.path.isdir(out_dir):
        raise UsageError(f"the output folder {os.fspath(out_dir)!r} is a file; choose another --out")
    plans = [None if image.problem else ResultPaths.below(out_dir, image.stem, parts=parts) for image in images]
    planned = [(image.path, results) for image, results in zip(images, plans, strict=True) if results]
    _refuse_collisions(planned)
    refuse_overwriting([path for path, _ in planned], [result for _, results in planned for result in results])
    return plans


def _refuse_collisions(planned: Sequence[tuple[Path, ResultPaths]]) -> None:
    owners: dict[str, Path] = {}
    for path, results in planned:
        for result in results:
            other = owners.setdefault(_folded(result), path)
            if other is path:
                continue
            if os.path.realpath(other) == os.path.realpath(path):
                raise UsageError(f"{str(path)!r} is given twice (also as {str(other)!r}); give it once")
            raise UsageError(
                f"{str(other)!r} and {str(path)!r} would both write {str(result)!r}; "
                "rename one, or label them in two calls with different --out folders"
            )
    for path, results in planned:
        for folder in map(_folded, results.label_map.parents):
            if folder in owners:
                raise UsageError(
                    f"{str(owners[folder])!r} and {str(path)!r} would need {folder!r} both as a file and as a folder; "
                    "label them in two calls with different --out folders"
                )


def _folded(path: Path) -> str:
    return unicodedata.normalize("NFC", str(path)).casefold()


def refuse_overwriting(inputs: Iterable[PathLike], results: Iterable[Path]) -> None:
    """Check that no result is one of the inputs.

    Raises:
        UsageError: one has the same path once links are followed, or is another name of the same file.
    """
    owners = {identity: path for path in inputs for identity in _identities(path)}
    for result in results:
        for identity in _identities(result):
            if identity in owners:
                raise UsageError(
                    f"the result {str(result)!r} would overwrite the input {os.fspath(owners[identity])!r}; "
                    "choose another --out folder"
                )


def _identities(path: PathLike) -> list[object]:
    """The path with links followed, and the file's device and inode, which survive hard links and letter case."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return [os.path.realpath(path)]
    return [os.path.realpath(path), (status.st_dev, status.st_ino)]

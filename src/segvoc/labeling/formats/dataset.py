"""Results as a dataset: per-image files as soon as an image is labeled, and dataset-wide files at the end.

An image's data for the dataset-wide files is kept in `.segvoc/<format>/photo.json`, its piece, which is written last.
Any number of processes may write images to the folder; at the end, each builds the same files from all pieces.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from segvoc.errors import InputError, OutputError, UsageError, one_line
from segvoc.imaging.pictures import orientation
from segvoc.imaging.reading import STANDARD_INPUT, file_name, opened_image
from segvoc.imaging.result_paths import InputImage, ResultFiles
from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import DatasetEntry, FormatWriter
from segvoc.labeling.formats.table import named, writers
from segvoc.storage.atomic_writes import check_names, write_atomically, write_bytes
from segvoc.storage.files import read_json, strict_json

PIECE_FOLDER = ".segvoc"
"""The folder of the pieces, in the dataset's folder."""


@dataclass(frozen=True, kw_only=True)
class EntryFiles(ResultFiles):
    """The files of an image in a dataset; the report is part of the piece."""

    folder: Path
    own: tuple[str, ...]
    """Files of the format, below the folder."""
    image: str | None
    """The copy of its image, below the folder; None without one."""
    name: str
    """Where the image is or would be, below the folder."""

    def __iter__(self) -> Iterator[Path]:
        """Yield the files, the piece last."""
        if self.image is not None:
            yield self.folder / self.image
        for path in self.own:
            yield self.folder / path
        yield self.report

    @property
    def shown(self) -> Path:
        """The file of the format, or the folder where there is none."""
        return self.folder / self.own[0] if self.own else self.folder

    def read_report(self) -> Any:
        """See `ResultFiles.read_report`; a damaged piece is a `ValueError`."""
        piece = super().read_report()
        if not isinstance(piece, dict) or "report" not in piece:
            raise ValueError("it has no report")
        return piece["report"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset to write; picklable for worker processes."""

    folder: str
    format: str
    background: str | None = None
    copy_images: bool = True

    def __post_init__(self) -> None:
        named(self.format, writers(of_videos=True))  # which refuses an unknown name

    @property
    def _writer(self) -> type[FormatWriter]:
        return named(self.format, writers(of_videos=True))

    def record(self) -> dict[str, object]:
        """The settings that the files depend on."""
        return {"name": self.format, "images": self.copy_images}

    def check(self, words: Sequence[str]) -> None:
        """Raise a `UsageError` if the format can't hold these words."""
        self._writer(words, self.background)

    def files(self, stem: str, image: str | os.PathLike[str] | None) -> EntryFiles:
        """The files of an image by its name in the dataset; `image` is its file, None for an image from memory."""
        kind, folder = self._writer, Path(self.folder)
        is_unnamed = image is None or os.fspath(image) == STANDARD_INPUT
        suffix = ".png" if image is None or is_unnamed else os.path.splitext(file_name(image))[1]
        is_copied = self.copy_images or is_unnamed
        # an image that isn't copied keeps its name, which its stem may hold with the suffix
        name = kind.image_file.format(stem=stem, suffix=suffix if is_copied or not stem.endswith(suffix) else "")
        report = folder / PIECE_FOLDER / self.format / f"{stem}.json"
        copy = name if is_copied else None
        return EntryFiles(stem=stem, folder=folder, own=kind.files(stem), image=copy, name=name, report=report)

    def write(self, result: Segmentation, files: EntryFiles, *, compact: bool = False) -> None:
        """Write the files of an image, each atomically; a compact report lists only words that have pixels.

        Raises:
            UsageError: an image in a dataset can't have this name.
            OutputError: a file can't be written.
        """
        _check_stem(files.stem)
        check_names(files)
        source = result.source or ""
        image = files.image or (os.path.abspath(source) if result.content is None else source)
        facts = self._writer(result.words, self.background).write(files.folder, files.stem, image, result)
        if files.image is not None:
            _copy_image(result, files.folder / files.image)
        piece = {"image": files.name, "report": result.report(compact=compact), "facts": facts}
        write_atomically(files.report, lambda file: file.write(strict_json(piece).encode()))

    def finish(self, words: Sequence[str], entries: Iterable[EntryFiles]) -> None:
        """Write the files about all images; `OutputError` if that fails, or a piece is damaged."""
        ordered = sorted(entries, key=lambda entry: entry.stem)
        self._writer(words, self.background).finish(Path(self.folder), _Pieces(ordered))

    def refuse_inputs(self, images: Iterable[InputImage]) -> None:
        """Raise a `UsageError` if an image is in the dataset's folder, where it might be overwritten."""
        folder = os.path.realpath(self.folder)
        realpath = cache(os.path.realpath)
        for image in images:
            if image.problem is None and os.path.commonpath([folder, realpath(image.path.parent)]) == folder:
                raise UsageError(
                    f"{str(image.path)!r} is in {self.folder!r}, where the dataset is to be; choose another --out"
                )


@dataclass(frozen=True)
class _Pieces:
    """The images of a dataset, read lazily."""

    files: Sequence[EntryFiles]

    def __iter__(self) -> Iterator[DatasetEntry]:
        for files in self.files:
            try:
                piece = read_json(files.report)
                yield DatasetEntry(files.stem, piece["image"], piece["facts"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise OutputError(f"{str(files.report)!r} can't be read ({one_line(error)}); label it again") from None


def _check_stem(stem: str) -> None:
    """Raise a `UsageError` for a name that isn't a visible file below a folder, or that would tear lists of images."""
    if os.path.isabs(stem) or any(part[:1] in ("", ".") for part in stem.split("/")):
        raise UsageError(f"{stem!r} is not a name of an image in the dataset; give one like 'sub/photo'")
    if len(stem.splitlines()) > 1:
        raise UsageError(f"{stem!r} has a line break, which lists of images can't hold; rename the image")
    if any("\ud800" <= char <= "\udfff" for char in stem):
        raise UsageError(f"the name {stem!r} isn't UTF-8, which lists of images need; rename the image (convmv)")


def _copy_image(result: Segmentation, target: Path) -> None:
    """Copy the image; applies the EXIF orientation, which few programs support."""
    source, content = result.source, result.content
    kind = Image.registered_extensions().get(target.suffix.lower(), "PNG")
    if source is not None:
        with suppress(InputError), opened_image(source, content=content) as image:
            is_kind = image.format == kind or (kind, image.format) == ("JPEG", "MPO")
            is_named_so = content is None and target.suffix == os.path.splitext(source)[1]
            if orientation(image) == 1 and (is_kind or is_named_so):
                write_bytes(target, Path(source).read_bytes() if content is None else content)
                return
    image = Image.fromarray(result.image)
    options = {"quality": 95, "subsampling": 0} if kind in ("JPEG", "MPO") else {}
    try:
        write_atomically(target, lambda file: image.save(file, "JPEG" if kind == "MPO" else kind, **options))
    except (KeyError, ValueError):  # Pillow can read but not write this format
        write_atomically(target, lambda file: image.save(file, "PNG"))


class DatasetWriter(AbstractContextManager["DatasetWriter"]):
    """Writes results as a dataset in another tool's format; use it in a `with` block.

        with segvoc.DatasetWriter("out/", "coco-panoptic") as dataset:
            for result in model.segment_many(photos, words):
                dataset.add(result)

    Dataset-wide files are written at the end of the block, unless it ends with an error.

    Args:
        folder: the dataset's folder.
        format: one that is written: "coco-panoptic", "cvat", "voc", ... (docs/how_to/formats.md).
        background: the word that stands for "none of the others", as for `Segmenter.segment`.
        copy_images: copy the images into the dataset.

    Raises:
        UsageError: the format is unknown.
    """

    def __init__(
        self, folder: str | os.PathLike[str], format: str, *, background: str | None = None, copy_images: bool = True
    ) -> None:
        self._dataset = Dataset(folder=os.fspath(folder), format=format, background=background, copy_images=copy_images)
        self._files: dict[str, EntryFiles] = {}
        self._words: tuple[str, ...] | None = None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()

    def add(self, result: Segmentation, stem: str | None = None) -> None:
        """Write an image.

        Args:
            result: the labeled image; all images of a dataset need the same words.
            stem: its name in the dataset, may include subfolders; by default the image's name without suffix.

        Raises:
            UsageError: its words differ from earlier images, it has no name or a duplicate name, or the format can't
                hold the words.
            OutputError: a file can't be written.
        """
        if stem is None:
            if result.source is None:
                raise UsageError("an image from memory has no name; give one: dataset.add(result, 'photo')")
            stem = Path(result.source).stem
        if stem in self._files:
            raise UsageError(f"there are two images {stem!r}; give one another name: dataset.add(result, 'other')")
        if self._words is None:
            self._dataset.check(result.words)
            self._words = result.words
        elif result.words != self._words:
            raise UsageError("the words differ from those of the images before; write another dataset for them")
        files = self._dataset.files(stem, result.source)
        self._dataset.refuse_inputs([] if result.source is None else [InputImage(path=Path(result.source), stem=stem)])
        self._dataset.write(result, files)
        self._files[stem] = files

    def finish(self) -> None:
        """Write the dataset-wide files for all images so far.

        Raises:
            OutputError: a file can't be written.
        """
        self._dataset.finish(self._words or (), self._files.values())

"""What a call of `segvoc segment` asks for (`Labeling`), and the protocol of the kinds of its inputs (`Task`)."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from segvoc.errors import InputError, OutputError, SegvocError, UsageError, counted
from segvoc.imaging.legend import share_text
from segvoc.imaging.map_files import MapFormat
from segvoc.imaging.overlay import SAVED_OVERLAY, OverlayStyle
from segvoc.imaging.reading import file_name
from segvoc.imaging.result_paths import InputImage, PathLike, ResultFiles
from segvoc.imaging.tiff_tags import place_of
from segvoc.inference.label_options import LabelOptions
from segvoc.inference.prepared_vocabulary import PreparedVocabulary
from segvoc.inference.reports import LabeledFile, summary_of
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter
from segvoc.labeling.formats.dataset import Dataset
from segvoc.labeling.track_files import TrackFormat
from segvoc.models.digests import model_record
from segvoc.models.opening import load
from segvoc.runtime.progress import Progress
from segvoc.runtime.version import __version__
from segvoc.storage.files import digest_of
from segvoc.storage.resume import ResumableWork, RunSettings, Stamp, stamp_of
from segvoc.vocabulary import PartVocabulary, Vocabulary

Planned = tuple[Path, ResultFiles]
"""An input and its result files."""

FolderWork = ResumableWork[str | None]
"""The inputs of a call; with a dataset, the value of each is where the image is."""

MAX_LISTED = 5
"""Maximum number of words shown of a long list."""

MAX_SUMMARY_WORDS = 6
"""Maximum number of words in the summary of an image."""


@dataclass(frozen=True, kw_only=True)
class Labeling:
    """A call of `segvoc segment`; picklable for worker processes."""

    inputs: Sequence[str] = ()
    """Files, folders, patterns, URLs; see `image_paths`."""
    load: Callable[[], Segmenter] = load
    """Loads the model, in each process."""
    words: Vocabulary | None = None
    """The words; None: the words of the parts, or of the model."""
    parts: PartVocabulary | None = None
    options: LabelOptions = field(default_factory=LabelOptions)
    out: PathLike = "out"
    """Folder of the results."""
    overlay: OverlayStyle | None = SAVED_OVERLAY
    """Settings of overlays; None: no overlays."""
    compact: bool = False
    """Whether reports list only words that have pixels."""
    resume: bool = False
    """Whether to resume an earlier call with the same settings."""
    as_json: bool = False
    """Whether the line about an input is its report as JSON, instead of a summary."""
    dataset: Dataset | None = None
    """Images: the dataset to write instead of label maps, overlays and reports."""
    map: MapFormat | None = None
    """Georeferenced images: the map to write beside them."""
    bands: tuple[int, ...] | None = None
    """Tiles: 1-based bands of a TIFF for red, green and blue, or a single gray one; None: by color interpretation."""
    max_pixels: int | None = None
    """Tiles: maximum number of pixels, except for TIFFs; None: `MAX_PIXELS`."""
    every: int | None = None
    """Videos: label every n-th frame, from the first on; in the overlay video, the frames between keep its labels."""
    track_formats: tuple[TrackFormat, ...] = ()
    """Videos: further files of the tracked objects, for other programs."""
    jobs: int = 1
    """Images: number of processes."""
    shard: str | None = None
    """"K/N": label only the K-th of N shares of the inputs."""

    @property
    def given(self) -> set[str]:
        """The options that inputs of only some kinds have, as far as they are given."""
        options = {
            "--parts": self.parts is not None,
            "--format": self.dataset is not None,
            "--format geojson": self.map is not None,
            "--jobs": self.jobs > 1,
            "--objects": self.options.objects,
            "--tile": self.options.tiling is not None or self.bands is not None or self.max_pixels is not None,
            "--stretch": self.options.stretch is not None,
            "--every": self.every is not None,
            "--smooth": bool(self.options.smooth),
            "--track": self.options.track,
            "--track-format": bool(self.track_formats),
        }
        return {option for option, is_given in options.items() if is_given}

    @property
    def map_name(self) -> str | None:
        """The format of the map, which is its suffix."""
        return None if self.map is None else self.map.name

    def encoded(self, model: Segmenter) -> PreparedVocabulary:
        """Encode the words with a model; `UsageError` if words, parts and background conflict."""
        return model.encode(self.words, parts=self.parts, background=self.options.background)

    def settings(self, model: Segmenter) -> RunSettings:
        """The settings that the results depend on, of inputs of any kind."""
        return {
            **model_record(model),
            "words": None if self.words is None else _summary(self.words.words, self.words),
            "parts": None if self.parts is None else _summary([part.name for part in self.parts.parts], self.parts),
            **self.options.record(),
            "overlays": None if self.overlay is None else _listed(asdict(self.overlay)),
            "reports": "compact" if self.compact else "complete",
            "format": None if self.dataset is None else _listed(self.dataset.record()),
            "map": None if self.map is None else _listed(asdict(self.map)),
            "segvoc": __version__,
        }

    def line(self, result: Segmentation | LabeledFile, files: ResultFiles) -> str:
        """The line about a labeled input, for people, or its report as JSON, in ASCII for any encoding.

        For people it has the words and parts with the most pixels, absent words, and the result files.
        """
        if self.as_json:
            return json.dumps(result.report(compact=self.compact), allow_nan=False)
        report = result.report(compact=True)
        kinds = [_largest(report[kind]) for kind in ("classes", "parts") if kind in report]
        return f"{result.source}: {'; '.join(['; parts: '.join(kinds), *summary_of(result).notes()])} -> {files.shown}"


@dataclass(frozen=True)
class Labeled:
    """The outcome for an input whose results are written."""

    line: str
    is_whole: bool = True
    """False for a damaged input, of which only a part is labeled."""


Outcome = Labeled | SegvocError
"""The outcome for an input: its line, or its error."""


@dataclass(frozen=True)
class Task(ABC):
    """How inputs of one kind are planned, labeled and written; picklable for worker processes.

    Raises:
        UsageError: inputs of this kind don't have an option of the call.
    """

    labeling: Labeling
    kind: ClassVar[str] = "images"
    """What lines call the inputs."""
    is_stream: ClassVar[bool] = True
    """Whether results are written while the next inputs are labeled; else each input has a progress bar of its own."""
    refused: ClassVar[Mapping[str, str]] = {
        "--every": "--every is for videos (.mp4, .mkv, ...); leave it out",
        "--smooth": "--smooth is for videos (.mp4, .mkv, ...); leave it out",
        "--track": "--track is for videos (.mp4, .mkv, ...); leave it out",
        "--track-format": "--track-format is for videos (.mp4, .mkv, ...); leave it out",
    }
    """Options that inputs of this kind don't have, with the error for each."""

    def __post_init__(self) -> None:
        for option, error in self.refused.items():
            if option in self.labeling.given:
                raise UsageError(error)

    @abstractmethod
    def plan(self, images: Sequence[InputImage]) -> list[ResultFiles | None]:
        """The result files of each input, None where there is nothing to read; see `plan_files` for errors."""

    def settings(self, model: Segmenter) -> RunSettings:
        """All settings that the results depend on."""
        return self.labeling.settings(model)

    def finished(self, work: FolderWork, planned: Sequence[Planned], model: Segmenter) -> set[str]:
        """The inputs that need no labeling, by the stems of their results."""
        return {
            files.stem
            for path, files in planned
            if work.done.has(files.stem, result_stamp(path, stamp_of(path), files))
        }

    @abstractmethod
    def label(self, model: Segmenter, planned: Iterable[Planned]) -> Iterator[Any]:
        """Label inputs in order: an iterator of each result, or its error.

        `planned` is consumed as results are requested. If words and options conflict, this call raises `UsageError`,
        not the iterator.
        """

    def write(self, result: Any, files: ResultFiles) -> Labeled:
        """Write what `label` left in memory; returns the line about it. `OutputError` if it can't be written."""
        return Labeled(self.labeling.line(result, files))


def refuse_unplaced(images: Sequence[InputImage], labeling: Labeling) -> None:
    """Raise a `UsageError` if a map is asked for, and an image has no coordinates."""
    for image in images if labeling.map is not None else ():
        if os.path.isfile(image.path) and place_of(image.path) is None:
            fix = f"leave it out, or --format {labeling.map_name}"
            raise UsageError(f"{str(image.path)!r} has no coordinates, which maps need; {fix}")


def label_files(
    planned: Iterable[Planned], unit: str, label: Callable[..., LabeledFile]
) -> Iterator[LabeledFile | InputError | OutputError]:
    """Label inputs one by one into files, by a function of `path`, `stem` and `progress`, which counts in `unit`s."""
    for path, files in planned:
        try:
            with Progress("labeling", unit=unit) as progress:
                result = label(path=path, stem=files.stem, progress=progress.reach)
        except (InputError, OutputError) as error:
            yield error
        else:
            yield result


def result_stamp(path: Path, read: Stamp, results: ResultFiles) -> list[object]:
    """The stamp of a finished input, from its own stamp before it was read, and from its written files."""
    return [file_name(path), read, [stamp_of(file) for file in results]]


def _largest(entries: Sequence[dict[str, Any]]) -> str:
    ordered = sorted(entries, key=lambda entry: -entry["pixels"])
    shares = [f"{entry['name'].split(', ')[0]} {share_text(entry['fraction'])}{_count(entry)}" for entry in ordered]
    more = f", and {len(shares) - MAX_SUMMARY_WORDS} more" if len(shares) > MAX_SUMMARY_WORDS else ""
    return f"{', '.join(shares[:MAX_SUMMARY_WORDS]) or 'no pixels labeled'}{more}"


def _count(entry: Mapping[str, Any]) -> str:
    count = entry.get("objects")
    return f" ({counted(count, 'object')})" if count else ""


def _listed(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _summary(names: Sequence[str], vocabulary: Vocabulary | PartVocabulary) -> str:
    """The first words of a vocabulary, and a digest of all."""
    more = f", ... ({len(names)} in all)" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{more} [{digest_of(vocabulary)[:8]}]"

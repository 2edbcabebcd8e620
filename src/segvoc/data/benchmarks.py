"""The benchmarks of `benchmarks.json`: classes, downloads and scoring rules; prepared benchmarks."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any, Literal

from segvoc.data.labeled_images import LabeledImage, LabeledImages, class_names, read_class_list
from segvoc.data.published_scores import PUBLISHED_ROWS, PublishedRow
from segvoc.errors import UsageError, counted, one_line
from segvoc.runtime.suggestions import did_you_mean
from segvoc.storage.files import read_json, write_json
from segvoc.storage.records import check_amounts, from_json, to_json
from segvoc.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Download:
    """One folder or file of an original download."""

    archives: tuple[str, ...]
    """Names of the archive, the current name first; empty if the file is downloaded unpacked."""
    member: str
    """The folder or file in the archive, without leading folders."""
    locations: tuple[str, ...]
    """Possible locations after unpacking, below the data folder; `segvoc prepare` unpacks to the first."""
    suffix: str
    """Suffix of the file names in the folder; empty if `member` is a single file."""
    page: str

    @property
    def is_file(self) -> bool:
        """Whether this is a single file rather than a folder of files."""
        return not self.suffix


@dataclass(frozen=True, kw_only=True)
class BenchmarkParts:
    """Which object each part belongs to, and which objects are seen in training."""

    class_list: str
    """File of the names (`segvoc.data.labeled_images`)."""

    @property
    def objects(self) -> tuple[str, ...]:
        """All objects, including those without parts; the index is the label in an object map."""
        return tuple(read_class_list(self.class_list)["obj_names"])

    @property
    def seen_objects(self) -> frozenset[str]:
        """Objects whose parts are trained on."""
        return frozenset(read_class_list(self.class_list)["seen_obj_names"])

    @property
    def object_of(self) -> tuple[int, ...]:
        """For each class ("cat's tail"), the index of its object."""
        index = {name: number for number, name in enumerate(self.objects)}
        # the last "'s": "chest of drawers's leg"
        return tuple(index[name.rpartition("'s ")[0]] for name in class_names(self.class_list))

    @property
    def seen_classes(self) -> tuple[str, ...]:
        """The classes whose objects are seen in training."""
        return tuple(compress(class_names(self.class_list), self.seen))

    @property
    def seen(self) -> tuple[bool, ...]:
        """For each class, whether its object is seen in training."""
        objects, seen = self.objects, self.seen_objects
        return tuple(objects[index] in seen for index in self.object_of)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark, or a training set."""

    name: str
    title: str
    class_list: str
    """File of the class names (`segvoc.data.labeled_images`)."""
    ignored: Literal[255, 65535] = 255
    """The label of ignored pixels in the prepared maps: 255 in maps of 8 bits, 65535 in maps of 16 bits."""
    downloads: tuple[Download, ...]
    label_folder: str
    """Folder of the prepared label maps, below the data folder."""
    label_suffix: str = ".png"
    """End of the label map's file name, after the stem of the image."""
    image_count: int | None
    """Number of images; None if no source gives it."""
    background: str | None = None
    """The class that stands for "none of the others"."""
    collapse_from: int | None = None
    """Predictions of this class or a later one count as this class, which is scored as "background"."""
    parts: BenchmarkParts | None = None
    training_parts: BenchmarkParts | None = None
    """For training sets of parts, whose classes are the parts of seen objects."""
    citation: str
    note: str = ""
    """Peculiarities of the data, for the documentation."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names that prompt the network, spelled as in the dataset; the index is the label."""
        if self.training_parts is not None:
            return self.training_parts.seen_classes
        return class_names(self.class_list)

    @property
    def scored_classes(self) -> tuple[str, ...]:
        """The names of the scored classes: `classes`, or those below `collapse_from` and "background"."""
        if self.collapse_from is None:
            return self.classes
        return (*self.classes[: self.collapse_from], "background")

    @property
    def protocol(self) -> str:
        """The scoring rule, in a few words."""
        if self.parts is not None:
            return "Pred-All and Oracle-Obj, seen and unseen objects"
        if self.collapse_from is not None:
            return f"classes from {self.collapse_from} count as background: {len(self.scored_classes)} scored"
        if self.background is not None:
            return f'with the background rule ("{self.background}")'
        return "all classes"

    @property
    def published(self) -> tuple[PublishedRow, ...]:
        """The rows of papers' tables with scores of unchanged presets on it, in table order; may be empty."""
        return tuple(row for row in PUBLISHED_ROWS if row.main and self.name in row.scores)

    @property
    def pages(self) -> tuple[str, ...]:
        """Addresses of the download pages."""
        return tuple(dict.fromkeys(download.page for download in self.downloads))


BENCHMARKS: Mapping[str, Benchmark] = {
    entry["name"]: from_json(Benchmark, entry) for entry in read_json(Path(__file__).with_suffix(".json"))
}

SEMANTIC = ("a-847", "pc-459", "a-150", "pc-59", "pas-20", "pas-20b")
"""The benchmarks in the tables of PCA-Seg and CAT-Seg, in order; ERR-Seg's have the first five."""


@dataclass(frozen=True, kw_only=True)
class PartRecord(LabeledImage):
    """One object of an image, with its parts: `stem` is "photo/3" for the fourth object of "photo".

    The label map holds the parts inside the object's mask; everything else is unlabeled.
    """

    object: int
    """Index of the object in `BenchmarkParts.objects`."""
    mask: Path
    """A map that is 0 inside the object's mask, and unlabeled elsewhere."""


PREPARED_LAYOUT = 1
"""Version of the prepared files; other versions are prepared again."""

PREPARATION_FOLDER = "segvoc"
"""Folder of the manifests and of the journals of unfinished preparations, below the data folder."""


@dataclass(frozen=True, kw_only=True)
class ManifestRecord:
    """A label map and its image, or one object of an image in a part benchmark; paths are below the data folder."""

    stem: str
    image: str
    labels: str
    part_object: int | None = None
    """In a part benchmark: index of the object whose parts are labeled."""
    mask: str | None = None
    """In a part benchmark: path of the object's mask. In a training set of parts: path of the map of all objects."""

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of all files of the record."""
        return (self.image, self.labels) if self.mask is None else (self.image, self.labels, self.mask)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The result of `segvoc prepare` for a benchmark."""

    benchmark: str
    records: tuple[ManifestRecord, ...]
    sha256: str
    """SHA-256 over the names and contents of all files written."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Images or records left out as in the published evaluations, with the reason."""
    missing: tuple[str, ...] = ()
    """Images with missing files, if allowed."""
    failed: tuple[str, ...] = ()
    partial: bool = False
    sources: Mapping[str, int] = field(default_factory=dict)
    """Original folders and files, with the number of files read from each."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def path(root: Path, benchmark: str) -> Path:
        """Path of the manifest of a benchmark."""
        return root / PREPARATION_FOLDER / f"{benchmark}.json"

    @classmethod
    def read(cls, root: Path, benchmark: str) -> "Manifest | None":
        """The manifest of a benchmark; None if there is none of this layout, `UsageError` if it is damaged."""
        path = cls.path(root, benchmark)
        try:
            content: dict[str, Any] = read_json(path)
            if content.pop("layout") != PREPARED_LAYOUT:
                return None
            content.pop("images")
            return check_amounts(from_json(cls, content))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (UsageError, OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"the manifest {str(path)!r} can't be read ({one_line(error)}); delete it and prepare again"
            ) from None

    def write(self, root: Path) -> None:
        """Write the manifest, atomically."""
        content = {"layout": PREPARED_LAYOUT, "images": len(self.records), **to_json(self)}
        content["records"] = [
            {name: value for name, value in record.items() if value is not None} for record in content["records"]
        ]
        write_json(self.path(root, self.benchmark), content)

    def lost_files(self, root: Path) -> list[str]:
        """Paths of the records' files that no longer exist."""
        return [name for record in self.records for name in record.files if not os.path.exists(root / name)]


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of a name; `UsageError` lists all names."""
    if name not in BENCHMARKS:
        meant = did_you_mean(re.sub(r"(?<=[a-z])(?=\d)", "-", name), BENCHMARKS)
        raise UsageError(f"the benchmark {name!r} is unknown{meant}; choose one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


def prepared(benchmark: Benchmark, root: str | Path) -> LabeledImages:
    """The images and label maps of a prepared benchmark; `UsageError` says how to prepare it.

    There may be fewer images than `Benchmark.image_count` if `--partial` allowed missing images, or if the published
    evaluations leave some out too. Part benchmarks have `PartRecord`s, training sets of parts have object maps.
    """
    root = Path(root)
    remedy = f"run `segvoc prepare {benchmark.name} --data {root}`"
    manifest = Manifest.read(root, benchmark.name)
    if manifest is None:
        raise UsageError(f"{benchmark.title} is not prepared in {str(root)!r}; {remedy}")
    if manifest.failed and not manifest.partial:
        raise UsageError(
            f"{counted(len(manifest.failed), 'image')} of {benchmark.title} failed when it was prepared, for example "
            f"{manifest.failed[0]!r}; replace the damaged files and {remedy}"
        )
    if lost := manifest.lost_files(root):
        verb = "is" if len(lost) == 1 else "are"
        raise UsageError(
            f"{counted(len(lost), 'file')} of {benchmark.title} {verb} missing, for example {lost[0]!r}; {remedy}"
        )
    vocabulary = Vocabulary(benchmark.classes)
    paths = [(record, root / record.image, root / record.labels) for record in manifest.records]
    if benchmark.parts is not None:
        records = (
            PartRecord(stem=record.stem, object=record.part_object, mask=root / record.mask, image=image, labels=labels)
            for record, image, labels in paths
            if record.part_object is not None and record.mask is not None
        )
        return LabeledImages(name=benchmark.name, vocabulary=vocabulary, images=tuple(records))
    images = tuple(LabeledImage(stem=record.stem, image=image, labels=labels) for record, image, labels in paths)
    found = LabeledImages(name=benchmark.name, vocabulary=vocabulary, images=images, background=benchmark.background)
    if benchmark.training_parts is None:
        return found
    masked = [(record.mask, image) for (record, _, _), image in zip(paths, images, strict=True)]
    maps = tuple(replace(image, labels=root / mask) for mask, image in masked if mask is not None)
    objects = Vocabulary(benchmark.training_parts.objects)
    return replace(found, object_maps=LabeledImages(name=benchmark.name, vocabulary=objects, images=maps))

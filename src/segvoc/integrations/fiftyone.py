"""FiftyOne: its samples as labeled images, labeled images as its data set, and predictions as a field.

    import fiftyone
    from segvoc.integrations.fiftyone import label_samples

    dataset = fiftyone.Dataset.from_images_dir("photos/")
    label_samples(dataset, segvoc.load("tiny"), ["cat", "sofa", "wall"])
    fiftyone.launch_app(dataset)

A mask of FiftyOne has the index of a word plus 1, since 0 is what its app shows no color for: the unlabeled pixels.
Values of FiftyOne's types are `Any` here, as FiftyOne has no annotations.
"""

import os
import pickle
import zlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from jaxtyping import UInt16

from segvoc.annotations.connected_regions import connected_regions
from segvoc.annotations.entries import stuff_classes
from segvoc.data.datasets.annotated_images import (
    AnnotatedImage,
    Annotation,
    Broken,
    Patch,
    Polygons,
    Shape,
    Shapes,
    checked_size,
    unique_stems,
)
from segvoc.data.datasets.maps import looked_up
from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import InputError, UsageError, missing_package
from segvoc.imaging.label_maps import UNLABELED, nearest
from segvoc.imaging.reading import opened_image
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.segmenter import Segmenter, StreamKeywords, Words
from segvoc.storage.resume import Stamp, stamp_of
from segvoc.vocabulary import Vocabulary

FieldKind = Literal["segmentation", "detections"]
"""What a field has of a result: a mask of all words, or an instance with a mask for each object."""


def label_samples(
    samples: Any,
    model: Segmenter,
    words: Words,
    field: str = "segvoc",
    *,
    kind: FieldKind = "segmentation",
    **options: Unpack[StreamKeywords],
) -> list[InputError]:
    """Label the images of samples, and keep the results in a field.

    Each sample is saved as soon as it is labeled. Images that can't be read keep what their field had.

    Args:
        samples: a `fiftyone.Dataset`, or a view of one; only images are labeled.
        model: from `segvoc.load`.
        words: one for each class, as for `model.segment`.
        field: the name of the field; what it had before is replaced.
        kind: "segmentation": a `fiftyone.Segmentation` (`segmentation_of`), with the words as the data set's mask
            targets of the field; "detections": a `fiftyone.Detections` (`detections_of`).
        options: those of `model.segment_many`: threshold=0.5, ...

    Returns:
        What is wrong with each image that couldn't be read.

    Raises:
        UsageError: the words or options are invalid, or FiftyOne isn't installed.
    """
    _library()
    background = options.pop("background", None)
    prepared = model.encode(words, background=background)
    paths = [str(path) for path in samples.values("filepath")]
    results = model.segment_many(paths, prepared, yield_errors=True, **options)
    if kind == "segmentation":
        dataset = getattr(samples, "_root_dataset", samples)
        dataset.mask_targets = {**dataset.mask_targets, field: mask_targets(prepared.words)}
        dataset.save()
    problems: list[InputError] = []
    for sample, result in zip(samples.iter_samples(autosave=True, progress=False), results, strict=True):
        if isinstance(result, InputError):
            problems.append(result)
        else:
            sample[field] = (
                segmentation_of(result) if kind == "segmentation" else detections_of(result, background=background)
            )
    return problems


def mask_targets(words: Sequence[str]) -> dict[int, str]:
    """The word of each value in masks of `segmentation_of`."""
    return dict(enumerate(words, 1))


def segmentation_of(result: Segmentation) -> Any:
    """A result as a `fiftyone.Segmentation`, whose mask has the index of each pixel's word plus 1; 0 is unlabeled.

    Raises:
        UsageError: FiftyOne isn't installed.
    """
    mask = np.where(result.labels < len(result.words), result.labels + 1, 0)
    return _library().Segmentation(mask=mask.astype(np.uint8 if len(result.words) <= 255 else np.uint16))


def detections_of(result: Segmentation, *, background: str | None = None) -> Any:
    """The objects of a result as `fiftyone.Detections`, each with a mask and its mean confidence.

    Of words without objects, each connected region is one; stuff (sky, wall, ..., see `segvoc.annotations.entries`) has
    none. What is in no object of a word with objects is left out.

    Args:
        result: a labeled image.
        background: the word that stands for "none of the others", which is stuff.

    Raises:
        UsageError: FiftyOne or scikit-image isn't installed.
    """
    library, stuff = _library(), stuff_classes(result.words, background)
    found = []
    for region in connected_regions(result.labels, len(result.words), result.objects):
        if region.is_crowd or (region.label in stuff and region.number is None):
            continue
        height, width = region.inside.shape
        box = region.left / result.width, region.top / result.height, width / result.width, height / result.height
        found.append(
            library.Detection(
                label=result.words[region.label],
                bounding_box=list(box),
                mask=region.inside,
                confidence=float(result.confidence[region.place][region.inside].mean(dtype=np.float64)),
            )
        )
    return library.Detections(detections=found)


def dataset_of(images: LabeledImages, name: str | None = None, field: str = "ground_truth") -> Any:
    """Labeled images as a new `fiftyone.Dataset`, with their labels as segmentations and their words as mask targets.

    Images whose labels can't be read are in it without labels.

    Args:
        images: the images, from `segvoc.read_dataset`, ...; they have to be files.
        name: of the data set; None: FiftyOne chooses one.
        field: the field of the labels.

    Raises:
        UsageError: an image is no file, or FiftyOne isn't installed.
    """
    library = _library()
    if (missing := next((one for one in images.images if not one.image.is_file()), None)) is not None:
        raise UsageError(f"{str(missing.image)!r} is no file, which FiftyOne needs; save the images first")
    dataset = library.Dataset(name)
    dataset.mask_targets = {field: mask_targets(images.vocabulary.words)}
    dataset.save()

    def sample_of(index: int) -> Any:
        sample = library.Sample(filepath=str(images.images[index].image.resolve()))
        try:
            labels = images.read(index).labels
        except InputError:
            return sample
        count = len(images.vocabulary)
        mask = np.where(labels < count, labels + 1, 0).astype(np.uint8 if count <= 255 else np.uint16)
        sample[field] = library.Segmentation(mask=mask)
        return sample

    dataset.add_samples((sample_of(index) for index in range(len(images))), num_samples=len(images), progress=False)
    return dataset


def labeled_images(
    samples: Any,
    field: str = "ground_truth",
    classes: Mapping[int, str] | Sequence[str] | None = None,
    *,
    background: str | None = None,
) -> LabeledImages:
    """Samples of FiftyOne as labeled images, for `evaluate`, `train` and `teach`.

        images = labeled_images(dataset.match_tags("checked"))
        segvoc.evaluate(segvoc.load("tiny"), images, "report/")

    The labels are those of this moment; images are read when they are used. A sample without labels raises an
    `InputError` when it is read.

    Args:
        samples: a `fiftyone.Dataset`, or a view of one.
        field: a field of `Segmentation`, `Detections` with masks, or `Polylines`.
        classes: for segmentations the name of each value, or names of the values from 0 on, in place of the data set's
            mask targets; otherwise the names in the order of their labels, by default in that of the alphabet.
        background: the class that stands for "none of the others": what is in no shape. It is added to the classes if
            it isn't one.

    Raises:
        UsageError: the field isn't there or has other values, or the classes aren't known.
    """
    paths = [Path(path) for path in samples.values("filepath")]
    stored = [sample[field] if sample.has_field(field) else None for sample in samples.iter_samples(progress=False)]
    kinds = {type(one).__name__ for one in stored if one is not None}
    if len(kinds) != 1 or not kinds <= {"Segmentation", "Detections", "Polylines"}:
        has = " and ".join(sorted(kinds)) or "no labels"
        raise UsageError(f"the field {field!r} has {has}; give one with Segmentation, Detections or Polylines")
    outside = UNLABELED
    if kinds == {"Segmentation"}:
        by_value = _by_value(samples, field, classes)
        names = list(by_value.values())
        values = {0: UNLABELED} | {value: index for index, value in enumerate(by_value)}
        annotations = [None if one is None else StoredMask.of(one, values) for one in stored]
    else:
        names = _names_of_shapes(stored, classes)
        if background is not None:
            names = names if background in names else [*names, background]
            outside = names.index(background)
        annotations = [None if one is None else _shapes_of(one, names) for one in stored]
    images = [
        FiftyOneImage(
            image=path,
            labels=path,
            stem=stem,
            annotation=annotation
            or Broken(problem=f"{str(path)!r} has no labels in {field!r}; label it, or leave it out"),
            outside=outside,
        )
        for path, stem, annotation in zip(paths, unique_stems(_below_common(paths)), annotations, strict=True)
    ]
    name = str(getattr(samples, "dataset_name", None) or samples.name)
    ordered = tuple(sorted(images, key=lambda image: image.stem))
    return LabeledImages(name=name, vocabulary=Vocabulary(names), images=ordered, background=background)


@dataclass(frozen=True, kw_only=True)
class FiftyOneImage(AnnotatedImage):
    """A sample: an image file, and labels that are kept in memory."""

    def stamp(self) -> tuple[Stamp, Stamp]:
        """See `LabeledImage.stamp`; labels have a checksum in place of a time."""
        content = pickle.dumps(self.annotation)
        return stamp_of(self.image), (len(content), zlib.crc32(content))


@dataclass(frozen=True, kw_only=True)
class StoredMask:
    """The mask of a `fiftyone.Segmentation`."""

    packed: bytes
    """Its values, compressed; empty if they are in a file."""
    shape: tuple[int, ...]
    kind: str
    """Type of the values, as NumPy calls it."""
    path: str | None
    """The file with the mask, if it isn't in the data set itself."""
    values: Mapping[int, int]
    """The label of each value."""

    @classmethod
    def of(cls, stored: Any, values: Mapping[int, int]) -> "StoredMask | None":
        """The mask of a segmentation; None if it has none."""
        if stored.mask is None:
            if stored.mask_path is None:
                return None
            return cls(packed=b"", shape=(), kind="", path=str(stored.mask_path), values=values)
        mask = np.ascontiguousarray(stored.mask)
        packed = zlib.compress(mask.tobytes(), 1)
        return cls(packed=packed, shape=mask.shape, kind=mask.dtype.str, path=None, values=values)

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        if self.path is None:
            values = np.frombuffer(zlib.decompress(self.packed), self.kind).reshape(self.shape)
        else:
            with opened_image(self.path) as image:
                values = np.array(image)
        if values.ndim != 2:
            raise ValueError(f"its mask has shape {values.shape}; masks of colors aren't read")
        checked_size(size, (values.shape[0], values.shape[1]))
        return looked_up(values, self.values, lambda value: f"its mask has the value {value}, which no class has")

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        return None


@dataclass(frozen=True)
class InstanceMask:
    """The mask of a `fiftyone.Detection`, in a box whose sides are fractions of the image's."""

    box: tuple[float, float, float, float]
    """Left, top, width and height."""
    packed: bytes
    """The mask's bits."""
    shape: tuple[int, int]
    """Its height and width."""

    def __call__(self, height: int, width: int) -> Patch:
        """See `Shape.patch`; a mask of another size than its box is stretched, as FiftyOne does."""
        rows, columns = self.shape
        mask = np.unpackbits(np.frombuffer(self.packed, np.uint8), count=rows * columns).reshape(rows, columns) > 0
        left, top = round(self.box[0] * width), round(self.box[1] * height)
        right, bottom = round((self.box[0] + self.box[2]) * width), round((self.box[1] + self.box[3]) * height)
        if right <= left or bottom <= top or not mask.size:
            raise ValueError("a detection without pixels")
        if (bottom - top, right - left) != mask.shape:
            mask = nearest(mask.astype(np.uint8), (bottom - top, right - left)) > 0
        # FiftyOne leaves out what is beyond the edges, too
        inside = mask[max(0, -top) : height - top, max(0, -left) : width - left]
        return Patch(max(0, top), max(0, left), inside)


def _by_value(samples: Any, field: str, classes: Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    """The class of each value in the masks of a field, in the order of the values."""
    if classes is None:
        targets: Any = samples.mask_targets.get(field) or samples.default_mask_targets
        if not targets:
            problem = (
                f"the data set doesn't say what the values in {field!r} are; set its mask_targets, or give classes"
            )
            raise UsageError(problem)
        if not all(isinstance(value, int) for value in targets):
            raise UsageError(f"the mask targets of {field!r} are colors, which aren't read; use masks of numbers")
        classes = dict(targets)
    by_value = dict(classes) if isinstance(classes, Mapping) else dict(enumerate(classes))
    return dict(sorted(by_value.items()))


def _names_of_shapes(stored: Sequence[Any], classes: Mapping[int, str] | Sequence[str] | None) -> list[str]:
    """The names of the classes of detections or polylines."""
    if isinstance(classes, Mapping):
        raise UsageError("classes of detections and polylines have no values; give a list of names")
    found = {str(one.label) for label in stored if label is not None for one in _members(label)}
    if classes is None:
        return sorted(found)
    if unknown := sorted(found - set(classes)):
        raise UsageError(f"the labels {', '.join(unknown[:5])} are none of the classes; add them, or match others")
    return list(classes)


def _members(label: Any) -> Sequence[Any]:
    return label.detections if hasattr(label, "detections") else label.polylines


def _shapes_of(label: Any, names: Sequence[str]) -> Annotation:
    """The shapes of detections or polylines; broken if one has no area."""
    shapes: list[Shape] = []
    for one in _members(label):
        index = names.index(str(one.label))
        if hasattr(one, "points"):
            if not one.closed and not one.filled:
                return Broken(
                    problem=f"a polyline of {one.label!r} is open, and has no area; close it, or leave it out"
                )
            corners = [[float(value) for point in ring for value in point] for ring in one.points]
            shapes.append(Shape(label=index, patch=Polygons(corners, relative=1.0)))
        elif (mask := one.get_mask() if hasattr(one, "get_mask") else one.mask) is None:
            return Broken(problem=f"a detection of {one.label!r} has no mask; add masks, or leave it out")
        else:
            inside = np.asarray(mask) > 0
            left, top, width, height = (float(value) for value in one.bounding_box)
            packed = np.packbits(inside).tobytes()
            patch = InstanceMask((left, top, width, height), packed, (len(inside), inside.shape[1]))
            shapes.append(Shape(label=index, patch=patch))
    return Shapes(shapes=tuple(shapes))


def _below_common(paths: Sequence[Path]) -> list[Path]:
    """The paths as seen from the deepest folder that has all of them."""
    if not paths:
        return []
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(folder) for path in paths]


def _library() -> Any:
    try:
        import fiftyone  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise missing_package("fiftyone") from None
    return fiftyone

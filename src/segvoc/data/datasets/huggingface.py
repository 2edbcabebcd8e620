"""Hugging Face `datasets`: rows with an image and a label map, in memory or in a folder that `save_to_disk` wrote."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt16

from segvoc.data.datasets.annotated_images import AnnotatedImage, FoundDataset, checked_size
from segvoc.data.datasets.fields import DatasetSource, chosen_set, json_content
from segvoc.data.datasets.maps import looked_up
from segvoc.data.labeled_images import ImageAndLabels, LabeledImages
from segvoc.errors import InputError, UsageError, missing_package, one_line
from segvoc.imaging.label_maps import UNLABELED
from segvoc.imaging.reading import decode_image, opened_image
from segvoc.storage.resume import Stamp
from segvoc.vocabulary import Vocabulary

if TYPE_CHECKING:
    import datasets

IMAGE_COLUMNS = ("image", "pixel_values", "img")
"""Names of the column with the images, the likeliest first."""

CLASS_FILES = ("classes.json", "id2label.json")
"""Files with the names of the classes in a folder of `save_to_disk`: a list, or an object of ids."""

ClassNames = Sequence[str] | Mapping[int, str] | Mapping[str, str]
"""The names of the classes: in the order of their values in label maps, or by these values (the hub's `id2label`)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The rows of a dataset, of which only two columns are read, as they are stored."""

    dataset: "datasets.Dataset"
    """The dataset, whose images aren't decoded."""
    images: str
    """The column of the images."""
    labels: str
    """The column of the label maps."""
    values: Mapping[int, int]
    """The label of each value in the label maps; `UNLABELED` for values that mean "no class"."""
    print: str
    """Stands for what the dataset contains."""

    def stored(self, column: str, row: int) -> Any:
        """What a column has in a row."""
        return self.dataset.select_columns([column])[row][column]


@dataclass(frozen=True, kw_only=True)
class RowLabels:
    """The label map of a row."""

    rows: Rows
    row: int

    def draw(self, size: tuple[int, int], outside: int) -> UInt16[np.ndarray, "H W"]:
        """See `Annotation.draw`."""
        stored = self.rows.stored(self.rows.labels, self.row)
        if stored is None:
            raise ValueError("it has no label map")
        if isinstance(stored, Mapping):
            content = _bytes_of(stored, f"the label map of row {self.row}")
            with opened_image(f"label map of row {self.row}", content=content) as image:
                mode, values = image.mode, np.array(image)
            if mode not in ("P", "L") and not mode.startswith("I"):
                raise ValueError(f"it is a {mode} image; a label map is a palette or gray PNG")
        else:
            values = np.asarray(stored)
            if values.ndim != 2 or values.dtype.kind not in "iu":
                raise ValueError(f"it has shape {values.shape} and type {values.dtype}, not rows of whole numbers")
        checked_size(size, (values.shape[0], values.shape[1]))
        return looked_up(values, self.rows.values, lambda value: f"it has the value {value}, which no class has")

    def objects(self, size: tuple[int, int], stuff: Set[int]) -> UInt16[np.ndarray, "H W"] | None:
        """See `Annotation.objects`."""
        return None


@dataclass(frozen=True, kw_only=True)
class RowImage(AnnotatedImage):
    """A row of a dataset; its paths only name it in messages."""

    rows: Rows
    """The dataset."""
    row: int
    """Its number, from 0."""

    def read(self, classes: int) -> ImageAndLabels:
        """See `LabeledImage.read`."""
        image = decode_image(self.content(), f"the image of row {self.row}")
        return ImageAndLabels(image, self.read_labels(image.shape[:2], classes))

    def content(self) -> bytes:
        """See `LabeledImage.content`."""
        stored = self.rows.stored(self.rows.images, self.row)
        if stored is None:
            raise InputError(f"row {self.row} has no image in the column {self.rows.images!r}; filter it out")
        return _bytes_of(stored, f"the image of row {self.row}")

    def exists(self) -> bool:
        """See `LabeledImage.exists`."""
        return True

    def stamp(self) -> tuple[Stamp, Stamp]:
        """See `LabeledImage.stamp`; the row of a dataset whose content has a name."""
        number = int.from_bytes(self.rows.print.encode()[:16], "little")
        return (self.row, number), (self.row, number)


def read_huggingface(
    dataset: "datasets.Dataset",
    classes: ClassNames | None = None,
    *,
    image: str | None = None,
    labels: str | None = None,
    unlabeled: Iterable[int] = (255,),
    background: str | None = None,
    name: str | None = None,
) -> LabeledImages:
    """Read a dataset of Hugging Face's library `datasets`, for `evaluate`, `train` and `teach`.

        rows = datasets.load_dataset("owner/name", split="train")
        images = segvoc.read_huggingface(rows, {0: "road", 1: "car"}, labels="annotation")
        segvoc.train(segvoc.recipes.finetune("tiny", images=len(images)), images, "run/")

    Rows are read when they are used, also by the processes that read training images. Images are read as files are:
    upright, as RGB. On the command line `--dataset` takes a folder that `save_to_disk` wrote.

    Args:
        dataset: a dataset of rows, not a streamed one. Its label maps are images (palette or gray), or arrays or lists
            of whole numbers.
        classes: names in the order of the values in the label maps, or by value. None: those of the column's
            `ClassLabel`.
        image: the column of the images. None: "image", "pixel_values" or "img", or the only column of images.
        labels: the column of the label maps. None: the only other column that could be.
        unlabeled: values of pixels without a class, unless a class has them; 65535 always is one.
        background: the class that stands for "none of the others".
        name: of the dataset, for reports; by default its own.

    Raises:
        UsageError: a column is missing or not plain, the classes aren't known, or the dataset is streamed.
    """
    _require_rows(dataset)
    name = name or str(dataset.info.dataset_name or "dataset")
    found = _found_rows(dataset, classes, image, labels, unlabeled, name)
    return LabeledImages(
        name=name,
        vocabulary=Vocabulary(found.names),
        images=tuple(found.images),
        background=background,
    )


def read_saved(source: DatasetSource) -> FoundDataset:
    """Read a folder that `save_to_disk` wrote, whose class names are in `classes.json` or `id2label.json`.

    Raises:
        UsageError: the folder isn't whole, has no names of classes, or several splits of which none is named.
    """
    try:
        from datasets import DatasetDict, load_from_disk
    except ModuleNotFoundError:
        raise missing_package("datasets") from None
    try:
        stored = load_from_disk(str(source.path))
    except Exception as error:  # Arrow, JSON and the library itself each have their own
        raise UsageError(f"{str(source.path)!r} can't be read by datasets: {one_line(error)}; save it again") from None
    if isinstance(stored, DatasetDict):
        stored = chosen_set(source, {str(split): one for split, one in stored.items()}, "splits")
    elif source.split is not None and source.split != str(stored.split):
        raise UsageError(f"{str(source.path)!r} has no splits; leave out --split")
    files = [path for file in CLASS_FILES if (path := source.path / file).is_file()]
    return _found_rows(stored, _class_file(files[0]) if files else None, None, None, (255,), source.path.name)


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote a folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _require_rows(dataset: object) -> None:
    try:
        from datasets import Dataset, DatasetDict
    except ModuleNotFoundError:
        raise missing_package("datasets") from None
    if isinstance(dataset, DatasetDict):
        raise UsageError(f"the dataset has the splits {', '.join(map(str, dataset))}; give one of them: dataset[...]")
    if not isinstance(dataset, Dataset):
        raise UsageError(f"a {type(dataset).__name__} can't be read in any order; load the dataset without streaming")


def _found_rows(
    dataset: "datasets.Dataset",
    classes: ClassNames | None,
    image: str | None,
    labels: str | None,
    unlabeled: Iterable[int],
    name: str,
) -> FoundDataset:
    from datasets import Image

    images, maps = _columns(dataset, image, labels)
    if classes is None and (classes := _class_names(dataset.features[maps])) is None:
        raise UsageError(
            f"the column {maps!r} doesn't say which classes its values are; give their names (in a folder of "
            f"save_to_disk: {' or '.join(CLASS_FILES)})"
        )
    by_value = _by_value(classes)
    values = dict.fromkeys((*unlabeled, UNLABELED), UNLABELED)
    values |= {value: index for index, value in enumerate(by_value)}
    plain = dataset.with_format(None).select_columns([images, maps])
    for column in (images, maps):
        if isinstance(plain.features[column], Image):
            plain = plain.cast_column(column, Image(decode=False))
    rows = Rows(dataset=plain, images=images, labels=maps, values=values, print=dataset._fingerprint)
    found: list[AnnotatedImage] = []
    for row in range(len(dataset)):
        place = Path(name) / f"{row:06}"
        labels_of_row = RowLabels(rows=rows, row=row)
        found.append(RowImage(image=place, labels=place, stem=place.name, annotation=labels_of_row, rows=rows, row=row))
    return FoundDataset(names=list(by_value.values()), images=found, has_outside=False)


def _columns(dataset: "datasets.Dataset", image: str | None, labels: str | None) -> tuple[str, str]:
    """The columns of the images and of the label maps."""
    from datasets import Image

    features = dataset.features
    for column in (image, labels):
        if column is not None and column not in features:
            raise UsageError(f"the dataset has no column {column!r}; it has {', '.join(features)}")
    pictures = [column for column in features if isinstance(features[column], Image)]
    if image is None:
        likely = [column for column in IMAGE_COLUMNS if column in pictures]
        others = [column for column in pictures if column != labels]
        if not likely and len(others) != 1:
            raise UsageError(f"which of the columns {', '.join(features)} has the images isn't plain; name it (image=)")
        image = likely[0] if likely else others[0]
    if not isinstance(features[image], Image):
        raise UsageError(f"the column {image!r} has no images; cast it: dataset.cast_column({image!r}, Image())")
    if labels is None:
        maps = [column for column in features if column != image and (column in pictures or _is_map(features[column]))]
        if len(maps) != 1:
            raise UsageError(
                f"which of the columns {', '.join(features)} has the label maps isn't plain; name it (labels=), or "
                "keep only it and the images (select_columns)"
            )
        return image, maps[0]
    return image, labels


def _is_map(feature: Any) -> bool:
    """Whether the values of a column are rows of numbers."""
    from datasets import Array2D

    return isinstance(feature, Array2D) or hasattr(getattr(feature, "feature", None), "feature")


def _class_names(feature: Any) -> Sequence[str] | None:
    """The names that a column of lists of `ClassLabel` has."""
    while feature is not None:
        if isinstance(names := getattr(feature, "names", None), list):
            return names
        feature = getattr(feature, "feature", None)
    return None


def _by_value(classes: ClassNames) -> dict[int, str]:
    """The name of each value, in the order of the values."""
    if not isinstance(classes, Mapping):
        return dict(enumerate(classes))
    try:
        found = {int(value): name for value, name in classes.items()}
    except (TypeError, ValueError):
        raise UsageError(
            "the classes are neither a list of names nor names by whole numbers; give one of them"
        ) from None
    return dict(sorted(found.items()))


def _class_file(path: Path) -> ClassNames:
    content = json_content(path)
    names = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        raise UsageError(f'{str(path)!r} has no names of classes; write ["cat", ...] or {{"0": "cat", ...}}')
    return content


def _bytes_of(stored: Mapping[str, Any], what: str) -> bytes:
    """The file in a cell of a column of images."""
    if stored.get("bytes") is not None:
        return bytes(stored["bytes"])
    try:
        return Path(stored["path"]).read_bytes()
    except (OSError, TypeError) as error:
        raise InputError(f"{what} can't be read: {one_line(error)}; check {stored.get('path')!r}") from None

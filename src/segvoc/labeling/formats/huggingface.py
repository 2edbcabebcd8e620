"""Hugging Face `datasets`: rows with an image and a label map, in memory or saved by `save_to_disk`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import UInt16

from segvoc.data.labeled_images import LabeledImages
from segvoc.errors import InputError, UsageError, missing_package, one_line
from segvoc.imaging.label_maps import LabelTable, read_label_map
from segvoc.labeling.formats.base import DatasetFormat
from segvoc.labeling.formats.parsed import AnnotatedImage, DatasetSource, ParsedDataset, checked_size
from segvoc.storage.resume import Stamp
from segvoc.vocabulary import Vocabulary, refuse_sets
from segvoc.vocabulary.files import read_classes
from segvoc.vocabulary.names import names_by_id

if TYPE_CHECKING:
    import datasets

IMAGE_COLUMNS = ("image", "pixel_values", "img")
"""Names of the image column, the likeliest first."""

CLASS_FILES = ("classes.json", "id2label.json")
"""Class name files in a folder of `save_to_disk`: a list, or an object keyed by id."""

ClassNames = Sequence[str] | Mapping[int, str] | Mapping[str, str]
"""The class names, in the order of their values in label maps or keyed by value (the hub's `id2label`)."""


@dataclass(frozen=True, kw_only=True)
class _RowImage(AnnotatedImage):
    """A row of a dataset; its paths only serve messages, and its stamps come from the dataset's content."""

    fix: ClassVar[str] = "correct the row, or filter it out"
    dataset: "datasets.Dataset"
    """With image decoding off."""
    row: int
    columns: tuple[str, str]
    """Of the image and of the label map."""

    def exists(self) -> bool:
        return True

    def stamp(self) -> tuple[Stamp, Stamp]:
        number = int.from_bytes(self.dataset._fingerprint.encode()[:16], "little")
        return (self.row, number), (self.row, number)

    def content(self) -> bytes:
        return self._file(self.columns[0])

    def stored_labels(self, size: tuple[int, int]) -> UInt16[np.ndarray, "H W"]:
        with self.naming_damage():
            name = Path(f"label map of row {self.row}")
            labels = read_label_map(name, self.table, content=self._file(self.columns[1]))
            checked_size(size, labels.shape)
            return labels

    def _file(self, column: str) -> bytes:
        stored = self.dataset.select_columns([column])[self.row][column]
        if stored is None:
            raise InputError(f"row {self.row} has no value in the column {column!r}; filter it out")
        if stored.get("bytes") is not None:
            return bytes(stored["bytes"])
        try:
            return Path(stored["path"]).read_bytes()
        except (OSError, TypeError) as error:
            problem = f"the column {column!r} of row {self.row} can't be read: {one_line(error)}"
            raise InputError(f"{problem}; check {stored.get('path')!r}") from None


def read_huggingface(
    dataset: "datasets.Dataset",
    classes: ClassNames,
    *,
    image: str | None = None,
    labels: str | None = None,
    background: str | None = None,
    name: str | None = None,
) -> LabeledImages:
    """Read a Hugging Face dataset for `evaluate`, `train` and `teach`.

        rows = datasets.load_dataset("owner/name", split="train")
        images = segvoc.read_huggingface(rows, {0: "road", 1: "car"}, labels="annotation")
        segvoc.train(segvoc.recipes.finetune("tiny", images=len(images)), images, "run/")

    Rows are read on demand, also by data loader workers. Images are read like files: upright, as RGB. On the command
    line, `--dataset` takes a folder written by `save_to_disk`.

    Args:
        dataset: a non-streamed dataset with a column of images and a column of label maps (palette or gray).
        classes: names in the order of the values in the label maps, or by value. 255 is unlabeled unless it is a class;
            65535 always is.
        image: the column of the images. None: "image", "pixel_values" or "img".
        labels: the column of the label maps. None: the only other image column.
        background: the class that stands for "none of the others".
        name: name of the dataset in reports; default: the dataset's name.

    Raises:
        UsageError: a column is missing or ambiguous, or the dataset is streamed.
    """
    try:
        from datasets import Dataset, DatasetDict
    except ModuleNotFoundError:
        raise missing_package("datasets") from None
    if isinstance(dataset, DatasetDict):
        raise UsageError(f"the dataset has the splits {', '.join(map(str, dataset))}; give one of them: dataset[...]")
    if not isinstance(dataset, Dataset):
        raise UsageError(f"a {type(dataset).__name__} has no random access; load the dataset without streaming")
    name = name or str(dataset.info.dataset_name or "dataset")
    refuse_sets(classes, "classes")
    classes = Vocabulary(classes).words if isinstance(classes, str) else classes
    if isinstance(classes, bytes) or not isinstance(classes, Iterable):
        raise UsageError("the classes are neither a list of names nor names by integer; give either")
    by_value = dict(names_by_id(classes.items()) if isinstance(classes, Mapping) else enumerate(classes))
    return _found_rows(dataset, LabelTable.of(by_value), image, labels, name).labeled_images(name, background)


def read_saved(source: DatasetSource) -> ParsedDataset:
    """Read a folder written by `save_to_disk`, with class names in `classes.json` or `id2label.json`."""
    try:
        from datasets import DatasetDict, load_from_disk
    except ModuleNotFoundError:
        raise missing_package("datasets") from None
    try:
        stored = load_from_disk(str(source.path))
    except Exception as error:  # Arrow, JSON and the library raise different types
        raise UsageError(f"{str(source.path)!r} can't be read by datasets: {one_line(error)}; save it again") from None
    if isinstance(stored, DatasetDict):
        stored = source.chosen({str(split): rows for split, rows in stored.items()}, "splits")
    elif source.split is not None and source.split != str(stored.split):
        raise UsageError(f"{str(source.path)!r} has no splits; leave out --split")
    file = next((path for name in CLASS_FILES if (path := source.path / name).is_file()), None)
    if file is None:
        needed = " or ".join(CLASS_FILES)
        raise UsageError(f"{str(source.path)!r} doesn't say which classes the values are; write {needed} into it")
    return _found_rows(stored, LabelTable.of_rows(read_classes(file)), None, None, source.path.name)


def _found_rows(
    dataset: "datasets.Dataset", table: LabelTable, image: str | None, labels: str | None, name: str
) -> ParsedDataset:
    from datasets import Image

    columns = _columns(dataset, image, labels)
    plain = dataset.with_format(None).select_columns(list(columns))
    for column in columns:
        plain = plain.cast_column(column, Image(decode=False))
    about = {"dataset": plain, "columns": columns, "table": table}
    places = [Path(name) / f"{row:06}" for row in range(len(dataset))]
    images = [
        _RowImage(image=place, labels=place, stem=place.name, row=row, **about) for row, place in enumerate(places)
    ]
    return ParsedDataset(names=table.names, images=images, are_shapes=False)


def _columns(dataset: "datasets.Dataset", image: str | None, labels: str | None) -> tuple[str, str]:
    from datasets import Image

    features: Mapping[str, Any] = dataset.features
    pictures = [column for column in features if isinstance(features[column], Image)]
    for column in filter(None, (image, labels)):
        if column not in features:
            raise UsageError(f"the dataset has no column {column!r}; it has {', '.join(features)}")
        if column not in pictures:
            raise UsageError(f"the column {column!r} has no images; cast it: dataset.cast_column({column!r}, Image())")
    unclear = f"can't tell which of the columns {', '.join(features)} has the"
    images = [image] if image else [column for column in IMAGE_COLUMNS if column in pictures and column != labels]
    if not images:
        raise UsageError(f"{unclear} images; set image=")
    maps = [labels] if labels else [column for column in pictures if column != images[0]]
    if len(maps) != 1:
        raise UsageError(f"{unclear} label maps; set labels=, or keep only it and the images (select_columns)")
    return images[0], maps[0]


HUGGING_FACE = DatasetFormat(
    name="huggingface",
    read=read_saved,
    marks=lambda folder: [name for name in ("dataset_dict.json", "state.json") if (folder / name).is_file()],
)

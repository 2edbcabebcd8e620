"""A mask file for each class of an image, and for each object: `photo/cat.png`, 0 and 255."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from segvoc.inference.segmentation import Segmentation
from segvoc.labeling.formats.base import DatasetEntry, DatasetFormat, Facts, FormatWriter, list_lines, write_lines
from segvoc.labeling.formats.parsed import DatasetSource, ParsedDataset, annotated, checked_size, unique_stems
from segvoc.labeling.formats.shapes import Patch, Shape, Shapes
from segvoc.labeling.formats.untrusted_files import Entry, inner_path, json_content, naming_damage
from segvoc.storage.atomic_writes import write_atomically
from segvoc.storage.files import safe_path, strict_json

INDEX = "masks.json"
"""The file that names the words, the images, and the word and object of each mask."""

_NAME = "masks-by-class"

_NOT_IN_NAMES = re.compile(r'[\x00-\x1f%#/\\:*?"<>|]|^[. ]|[. ]$')


def mask_name(word: str) -> str:
    """A word as a file's name, with characters that a file system refuses as in a URL ("black%2Fwhite")."""
    return _NOT_IN_NAMES.sub(lambda match: f"%{ord(match[0]):02X}", word)


@dataclass(frozen=True)
class _MaskFile:
    """Reads a mask."""

    path: Path

    def __call__(self, height: int, width: int) -> Patch:
        """See `Shape.patch`."""
        try:
            with Image.open(self.path, formats=["PNG"]) as image:
                checked_size((height, width), (image.height, image.width))
                return Patch(0, 0, np.array(image.convert("L")) > 127)
        except (OSError, SyntaxError, Image.DecompressionBombError):
            raise ValueError(f"the mask {str(self.path)!r} can't be read; write it again") from None


def read_class_masks(source: DatasetSource) -> ParsedDataset:
    """Read the masks that `masks.json` names; pixels of a class with objects that are in none of them are a crowd."""
    path = source.path if source.path.is_file() else source.path / INDEX
    with naming_damage(path):
        content = Entry(json_content(path), "the file")
        words = content.content.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("it lists no words")
        entries = content.entries("images", "image")
    stems = unique_stems([inner_path(entry.text("image").removeprefix("images/")) for entry in entries])
    images = [
        annotated(
            path,
            stem,
            partial(_image, source, path.parent, entry),
            partial(_shapes, path.parent, entry, len(words)),
            name=entry.name,
        )
        for entry, stem in zip(entries, stems, strict=True)
    ]
    return ParsedDataset(names=words, images=images)


def _image(source: DatasetSource, folder: Path, entry: Entry) -> Path:
    return source.image(entry.text("image"), [folder])


def _shapes(folder: Path, entry: Entry, classes: int) -> Shapes:
    masks = entry.entries("masks", "mask")
    # an object lies over the mask of its class
    masks.sort(key=lambda mask: mask.content.get("object") is not None)
    counted = {mask.content.get("word") for mask in masks if mask.content.get("object") is not None}
    return Shapes.of(masks, lambda mask: _shape(folder, mask, classes, counted))


def _shape(folder: Path, mask: Entry, classes: int, counted: Collection[object]) -> Shape:
    word, number = mask.content.get("word"), mask.content.get("object")
    if not isinstance(word, int) or not 0 <= word < classes:
        raise ValueError(f"{mask.name} has the word {word!r}, not the place of one")
    if number is not None and not isinstance(number, int):
        raise ValueError(f"{mask.name} has the object {str(number)[:30]!r}, not a number")
    file = _MaskFile(folder / safe_path(mask.text("file")))
    return Shape(label=word, patch=file, group=number, is_crowd=number is None and word in counted)


class _ClassMasksWriter(FormatWriter):
    """`photo/cat.png` for each word that has pixels, `photo/cat#1.png` for each object, `masks.json`, and the images.

    Masks that an earlier call left in `photo/` are removed.
    """

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        masks = list[Facts]()
        for word, number, inside in self._masks(result):
            name = mask_name(self.words[word]) + ("" if number is None else f"#{number}")
            masks.append({"file": f"{stem}/{name}.png", "word": word, "object": number})
            png = Image.fromarray(np.where(inside, np.uint8(255), np.uint8(0)))
            write_atomically(folder / masks[-1]["file"], partial(png.save, format="PNG", compress_level=1))
        if Path(stem).parts[0] != "images":  # where copies of images are
            written = {folder / mask["file"] for mask in masks}
            for file in {*(folder / stem).glob("*.png")} - written:
                file.unlink()
        return {"masks": masks}

    def _masks(self, result: Segmentation) -> Iterator[tuple[int, int | None, Bool[np.ndarray, "H W"]]]:
        """Each found word, and each of its objects (by its number), with its mask."""
        for word in range(len(self.words)):
            mask = result.labels == word
            if not mask.any():
                continue
            yield word, None, mask
            if result.object_map is not None:
                for number in np.unique(result.object_map[mask]).tolist():
                    if number:
                        yield word, number, mask & (result.object_map == number)

    def finish(self, folder: Path, entries: Iterable[DatasetEntry]) -> None:
        images = ({"image": entry.image, "masks": entry.facts["masks"]} for entry in entries)
        lines = [f'{{"format": "{_NAME}", "words": {strict_json(list(self.words))},', '"images":']
        write_lines(folder / INDEX, (*lines, *list_lines(images), "}"))


MASKS_BY_CLASS = DatasetFormat(
    name=_NAME,
    read=read_class_masks,
    writer=_ClassMasksWriter,
    marks=lambda folder: (folder / INDEX).is_file(),
    is_json=lambda content: isinstance(content, dict) and content.get("format") == _NAME,
)

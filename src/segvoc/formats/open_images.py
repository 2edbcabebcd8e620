"""Open Images: a black and white PNG for each mask, and CSV files about all of them."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from segvoc.formats.dataset_format import DatasetEntries, DatasetFormat, Facts, write_text
from segvoc.inference.segmentation import Segmentation
from segvoc.storage.atomic_writes import write_atomically

TRAIN_SET = "train"
"""The set of all images; Open Images has no other names than train, validation and test."""

_COLUMNS = (
    "MaskPath",
    "ImageID",
    "LabelName",
    "BoxID",
    "BoxXMin",
    "BoxXMax",
    "BoxYMin",
    "BoxYMax",
    "PredictedIoU",
    "Clicks",
)
_IMAGE_COLUMNS = (
    *("ImageID", "Subset", "OriginalURL", "OriginalLandingURL", "License", "AuthorProfileURL", "Author", "Title"),
    *("OriginalSize", "OriginalMD5", "Thumbnail300KURL", "Rotation"),
)


class OpenImages(DatasetFormat):
    """`images/train/photo.jpg`, `masks/train/photo_w0_0.png`, ... and CSV files in `annotations/`.

    The CSV files are those of Open Images V6 and V7: images, masks with their boxes (in fractions of the image), and
    the names of the labels, which are "/w/0" for the first word.
    """

    name = "open-images"
    needs = ("skimage",)
    lists_files = True

    @classmethod
    def image_file(cls, stem: str, suffix: str) -> str:
        """See `DatasetFormat.image_file`."""
        return f"images/{TRAIN_SET}/{stem}{suffix}"

    def write(self, folder: Path, stem: str, image: str, result: Segmentation) -> Facts:
        """See `DatasetFormat.write`."""
        rows, files = [], []
        for number, region in enumerate(self.segments_of(result)):
            mask = np.zeros(result.labels.shape, bool)
            mask[region.place] = region.inside
            name = f"{stem}_w{region.label}_{number}.png"
            png = Image.fromarray(mask)
            write_atomically(folder / "masks" / TRAIN_SET / name, lambda file, png=png: png.save(file, "PNG"))
            files.append(f"masks/{TRAIN_SET}/{name}")
            left, top, width, height = region.box
            box = (
                left / result.width,
                (left + width) / result.width,
                top / result.height,
                (top + height) / result.height,
            )
            rows.append([name, region.label, number, *(round(value, 6) for value in box)])
        return {"files": files, "masks": rows, "size": [result.height, result.width]}

    def finish(self, folder: Path, entries: DatasetEntries) -> None:
        """See `DatasetFormat.finish`."""
        place = folder / "annotations"
        names = (_line([_label(label), word]) for label, word in enumerate(self.words))
        write_text(place / "oidv7-class-descriptions.csv", [_line(["LabelName", "DisplayName"]), *names])
        write_text(place / f"{TRAIN_SET}-annotations-object-segmentation.csv", self._masks(entries))
        images = (_line([entry.stem, TRAIN_SET, *[""] * (len(_IMAGE_COLUMNS) - 2)]) for entry in entries)
        write_text(place / "image_ids_and_rotation.csv", [_line(_IMAGE_COLUMNS), *images])
        # Datumaro takes the sizes of images from here
        write_text(
            place / "images.meta", (f'"{entry.stem}" {" ".join(map(str, entry.facts["size"]))}' for entry in entries)
        )

    def _masks(self, entries: DatasetEntries) -> Iterator[str]:
        yield _line(_COLUMNS)
        for entry in entries:
            for name, label, number, *box in entry.facts["masks"]:
                yield _line([name, entry.stem, _label(label), f"{number:08x}", *box, "", ""])


def _label(label: int) -> str:
    return f"/w/{label}"


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()

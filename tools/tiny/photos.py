"""Labeled photographs: folders of images/*.jpg, labels/*.png and classes.json."""

import json
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

UNLABELED = 255
NO_WORD = "background"

MORE = ("more-voc", "more-cats", "more-contours", "more-meals")
"""Data sets that `shared/tools/more_photos.py` makes out of public repositories; each has one folder in its output."""


class Shares(NamedTuple):
    """How often a data set's cells or photographs are drawn in each stage of training, relative to the others'."""

    projections: float
    trunk: float
    aggregation: float


SHARES = {
    "coco-panoptic": Shares(0.35, 0.35, 0.36),
    "coco-things": Shares(0.2, 0.2, 0.1),
    "clothing": Shares(0.1, 0.1, 0.12),
    "voc": Shares(0.03, 0.05, 0.08),
    "coco-minis": Shares(0.15, 0.15, 0.12),
    "lvis": Shares(0.3, 0.3, 0.02),
    "caltech": Shares(0.02, 0.03, 0.05),
    "pantry": Shares(0.1, 0.12, 0.07),
    "indoor": Shares(0.02, 0.02, 0.02),
    "more-voc": Shares(0.06, 0.03, 0.14),
    "more-cats": Shares(0.012, 0.004, 0.01),
    "more-contours": Shares(0.016, 0.005, 0.01),
    "more-meals": Shares(0.15, 0.04, 0.02),
}
DATA_SETS = tuple(SHARES)
"""Labeled data sets, all of which the shipped weights are trained on."""


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where the data sets are: those in `MORE`, and the others."""

    photos: Path
    more: Path

    def __getitem__(self, data_set: str) -> Path:
        """The folder of a data set."""
        return self.more / data_set.removeprefix("more-") if data_set in MORE else self.photos / data_set

    @classmethod
    def of(cls, chosen: Namespace) -> "Folders":
        """What a command was given."""
        return cls(photos=chosen.photos, more=chosen.more)


def command(description: str | None, cache: Path) -> ArgumentParser:
    """The command line of a training: `--photos` and `--more`, as `Folders.of` takes them, and `--cache`."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--more", type=Path, required=True, help="folder that more_photos.py wrote")
    parser.add_argument("--cache", type=Path, default=cache, help="folder of what is computed, to go on from")
    return parser


@dataclass(frozen=True)
class Photo:
    """One photograph of a data set, and its label map."""

    data_set: str
    image_file: Path
    label_file: Path
    words: tuple[str | None, ...]
    """Names of the values of the label map (None: none of the data set's words)."""

    @property
    def key(self) -> str:
        """Name that is unique among all data sets."""
        return f"{self.data_set}-{self.image_file.stem}"

    @property
    def group(self) -> str:
        """Name of what stays together in cross-validation: copies of one photograph, and frames of one video."""
        if self.data_set.startswith("coco-") or self.data_set == "lvis":
            return f"coco-{int(self.image_file.stem)}"
        if self.data_set == "more-contours" and "_101_" in self.image_file.stem:
            # airplane_101_airplanes_image_0023 is airplanes_0023 of caltech
            return "caltech-" + self.image_file.stem.partition("_101_")[2].replace("_image_", "_")
        return self.data_set if self.data_set == "indoor" else self.key

    def pixels(self) -> Image.Image:
        """The image in RGB."""
        return Image.open(self.image_file).convert("RGB")

    def labels(self) -> np.ndarray:
        """Label map (H W) uint8: index into `words`, 255 = unlabeled."""
        return np.asarray(Image.open(self.label_file))


def read_photos(folder: Path, data_set: str) -> list[Photo]:
    """All labeled photographs in the folder of a data set, by name."""
    names = json.loads((folder / "classes.json").read_text())
    words = tuple(None if name == NO_WORD else name for name in names)
    return [
        Photo(data_set, image, folder / "labels" / f"{image.stem}.png", words)
        for image in sorted((folder / "images").glob("*.jpg"))
    ]

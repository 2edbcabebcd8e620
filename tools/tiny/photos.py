"""Labeled photographs: folders of images/*.jpg, labels/*.png and classes.json."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

UNLABELED = 255
NO_WORD = "background"

DATA_SETS = ("coco-panoptic", "coco-things", "clothing", "voc", "coco-minis", "lvis", "caltech", "pantry", "indoor")
"""Labeled data sets, all of which the shipped weights are trained on."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One photograph of a data set."""

    data_set: str
    """Name of the data set."""
    image_file: Path
    """The image."""
    label_file: Path
    """Its label map."""
    words: tuple[str | None, ...]
    """Names of the values of the label map (None: none of the data set's words)."""

    @property
    def key(self) -> str:
        """Name that is unique among all data sets."""
        return f"{self.data_set}-{self.image_file.stem}"

    @property
    def group(self) -> str:
        """Name of what stays together in cross-validation: copies of one COCO photograph, and frames of one film."""
        if self.data_set.startswith("coco-") or self.data_set == "lvis":
            return f"coco-{int(self.image_file.stem)}"
        return self.data_set if self.data_set == "indoor" else self.key

    def pixels(self) -> Image.Image:
        """The image in RGB."""
        return Image.open(self.image_file).convert("RGB")

    def labels(self) -> np.ndarray:
        """Label map (H W) uint8: index into `words`, 255 = unlabeled."""
        return np.asarray(Image.open(self.label_file))


def read_photos(root: Path, data_set: str) -> list[Photo]:
    """All labeled photographs of a data set, by name."""
    folder = root / data_set
    names = json.loads((folder / "classes.json").read_text())
    words = tuple(None if name == NO_WORD else name for name in names)
    return [
        Photo(data_set=data_set, image_file=image, label_file=folder / "labels" / f"{image.stem}.png", words=words)
        for image in sorted((folder / "images").glob("*.jpg"))
    ]

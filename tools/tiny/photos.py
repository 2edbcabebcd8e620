"""Labelled photographs: folders of images/*.jpg, labels/*.png and classes.json."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

UNLABELLED = 255
NO_WORD = "background"
DATA_SETS = ("coco-panoptic", "coco-things", "clothing")


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One photograph of a data set; `words` are the names that its label map may use (None: of no word)."""

    data_set: str
    image_file: Path
    label_file: Path
    words: tuple[str | None, ...]

    @property
    def key(self) -> str:
        """Name that is unique among all data sets."""
        return f"{self.data_set}-{self.image_file.stem}"

    def pixels(self) -> Image.Image:
        """The picture in RGB."""
        return Image.open(self.image_file).convert("RGB")

    def labels(self) -> np.ndarray:
        """Label map (H W) uint8: index into `words`, 255 = unlabelled."""
        return np.asarray(Image.open(self.label_file))


def read_photos(root: Path, data_set: str) -> list[Photo]:
    """All photographs of a data set, by name."""
    folder = root / data_set
    names = json.loads((folder / "classes.json").read_text())
    words = tuple(None if name == NO_WORD else name for name in names)
    return [
        Photo(data_set=data_set, image_file=image, label_file=folder / "labels" / f"{image.stem}.png", words=words)
        for image in sorted((folder / "images").glob("*.jpg"))
    ]

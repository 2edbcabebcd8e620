"""Images drawn in a color for each word, which any encoder tells apart."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segvoc.vocabulary import Vocabulary

COLORS = {"grass": (40, 160, 40), "sky": (90, 150, 230), "brick": (170, 60, 40)}
UNLABELED = 65535


@dataclass
class DrawnExamples:
    images: list[np.ndarray]
    labels: list[np.ndarray]
    vocabulary: Vocabulary
    background: str | None = None

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images[index], self.labels[index]

    def write(self, folder: Path) -> list[str]:
        """Write files; returns the options that name them."""
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
        for number, (image, labels) in enumerate(zip(self.images, self.labels, strict=True)):
            Image.fromarray(image).save(folder / f"images/{number}.png")
            Image.fromarray(np.where(labels == UNLABELED, 255, labels).astype(np.uint8)).save(
                folder / f"labels/{number}.png"
            )
        (folder / "classes.json").write_text(json.dumps(list(self.vocabulary.words)), encoding="utf-8")
        files = {"images": "images", "labels": "labels", "classes": "classes.json"}
        return [f"--{option}={folder / name}" for option, name in files.items()]


def drawn_examples(count: int, words: int = 3, extra: tuple[str, ...] = ()) -> DrawnExamples:
    """Draw images of several sizes; `extra` words have no pixels."""
    colors = np.array(list(COLORS.values()))
    images, labels = [], []
    for number in range(count):
        random = np.random.default_rng(number)
        quarters = random.integers(words, size=(2, 2))
        quarters[0, 0], quarters[1, 1] = number % words, (number + 1) % words
        drawn = np.kron(quarters, np.ones((32 + 8 * (number % 2), 32), np.int64)).astype(np.uint16)
        noise = random.integers(-25, 26, (*drawn.shape, 3))
        images.append(np.clip(colors[drawn] + noise, 0, 255).astype(np.uint8))
        labels.append(drawn)
    return DrawnExamples(images, labels, Vocabulary([*list(COLORS)[:words], *extra]))

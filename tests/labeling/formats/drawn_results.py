"""Results whose label maps have all that is hard for datasets: holes, islands in holes, corners, thin lines, noise."""

import numpy as np
from PIL import Image, ImageDraw

from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmentation import Segmentation

WORDS = ("cat", "traffic light", "stone wall", "road", "a & <b>", "ü/x")


def hard_labels(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    """A label map of `WORDS`."""
    rng = np.random.default_rng(seed)
    image = Image.new("I;16", (width, height), UNLABELED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((2, 3, 44, 40), fill=3)  # a road
    draw.ellipse((8, 8, 36, 34), fill=0)  # with a cat on it
    draw.ellipse((14, 12, 30, 30), fill=UNLABELED)  # with a hole
    draw.rectangle((18, 16, 24, 24), fill=1)  # with an island
    draw.line((46, 0, 63, 47), fill=4)
    draw.line((0, 44, 63, 44), fill=2)
    draw.rectangle((50, 2, 58, 8), fill=2)  # stuff in two regions
    labels = np.array(image)
    for row, column in rng.integers(0, (height, width), (40, 2)):
        labels[row, column] = rng.choice([0, 1, 5, UNLABELED])
    labels[-1, -1] = labels[-2, -2] = 5  # touch at a corner
    return labels


def drawn_result(labels: np.ndarray | None = None, words: tuple[str, ...] = WORDS, seed: int = 0) -> Segmentation:
    labels = hard_labels(seed) if labels is None else labels
    image = np.random.default_rng(seed).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    about = {"confidence": np.full(labels.shape, 0.5, np.float32), "selected": np.ones(len(words), bool)}
    return Segmentation(labels=labels, words=words, image=image, model="tiny", seconds=0.1, **about)


def outline_differences(truth: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """How many pixels differ, and how many of those have no neighbor of another class in the true map."""
    padded = np.pad(truth, 1, mode="edge")
    height, width = truth.shape
    shifted = [padded[row : row + height, column : column + width] for row in range(3) for column in range(3)]
    edge = np.any([other != truth for other in shifted], axis=0)
    different = truth != labels
    return int(different.sum()), int((different & ~edge).sum())

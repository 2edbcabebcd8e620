"""A red disk and a blue one on gray ground, to click on."""

import numpy as np

HEIGHT, WIDTH = 192, 256


def _disk(row: int, column: int) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (rows - row) ** 2 + (columns - column) ** 2 < 45**2


LEFT, RIGHT = _disk(96, 70), _disk(96, 186)
PIXELS = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
PIXELS[LEFT], PIXELS[RIGHT] = (200, 30, 30), (30, 30, 200)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())

"""What the tests hand to training, in a module that other processes import quickly."""

import time

import numpy as np
import torch


def brighter(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random light; the upper half goes."""
    half = len(image) // 2
    image[...] = np.minimum(image.astype(int) + rng.integers(1, 100), 255)
    return image[half:], labels[half:]


class Failing:
    """Random light, until after a number of images one gets a label that no class has."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        image, labels = brighter(image, labels, rng)
        self.left -= 1
        if self.left < 0:
            labels[0, 0] = 77
        return image, labels


NO_ROOM_FOR, FOR_EVER, UNREADABLE = -1, -2, -3


class Rows(torch.utils.data.Dataset):
    """Samples of a size, and three that make trouble."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == NO_ROOM_FOR:
            return Unsendable()
        if index == FOR_EVER:
            time.sleep(600)
        if index == UNREADABLE:
            raise FileNotFoundError(2, "no such thing", "x")
        return torch.zeros(self.size, dtype=torch.uint8)


class Unsendable:
    """Fails as a tensor does that shared memory has no room for."""

    def __reduce__(self):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)")

"""What the tests hand to training, in a module that other processes can import quickly."""

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
        """Counts down."""
        image, labels = brighter(image, labels, rng)
        self.left -= 1
        if self.left < 0:
            labels[0, 0] = 77
        return image, labels


class Large(torch.utils.data.Dataset):
    """Samples that a small shared memory has no room for."""

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.zeros(400_000, dtype=torch.uint8)

"""Fine-tune on rows of Hugging Face's `datasets`, with a transform and a callback of your own, and share the model.

Usage: python examples/train_and_share.py PHOTO OUT owner/name [NAME=VALUE ...]

NAME=VALUE changes the recipe: steps=500 ...
"""
# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# (`datasets` has no types; all of segvoc is checked)

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np

import segvoc
from segvoc.training import trackers
from segvoc.training.callbacks import RunEnd

WORDS = ["cat", "wall"]


class Losses(segvoc.Callback):
    """Prints the loss of each tenth step, and how the run has ended."""

    def on_step(self, metrics: Mapping[str, Any]) -> None:
        """Print the loss."""
        if metrics["step"] % 10 == 0:
            print(f"step {metrics['step']}: loss {metrics['loss']:.3f}")

    def on_end(self, end: RunEnd) -> None:
        """Print where the weights are."""
        print(f"{end.status} after {end.step} steps: {end.weights}")


def darker(image: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Less light, by a random factor."""
    return (image * rng.uniform(0.5, 1)).astype(np.uint8), labels


def rows(photo: str) -> datasets.Dataset:
    """A dataset of two rows, which stands for yours."""
    result = segvoc.load("tiny").segment(photo, WORDS)
    content = {"image": [result.image] * 2, "labels": [result.labels.astype(np.uint8)] * 2}
    kinds = datasets.Features({"image": datasets.Image(), "labels": datasets.Image()})
    return datasets.Dataset.from_dict(content, features=kinds)


def main() -> None:
    """Train, share."""
    photo, out, repository, *settings = sys.argv[1:]
    images = segvoc.read_huggingface(rows(photo), WORDS, name="cats")
    recipe = segvoc.recipes.finetune("tiny", images=len(images)).with_settings(settings)
    callbacks = [trackers.TensorBoard(), Losses()]
    trained = segvoc.train(recipe, images, Path(out), transform=darker, callbacks=callbacks)
    print(segvoc.push(segvoc.load(trained.weights), repository, private=True))


if __name__ == "__main__":  # the data loader starts processes, which import this file
    main()

"""Writes what Python's `learn` makes of drawn cells, for the tests of the page's own.

Usage: PYTHONPATH=src python annotate/tools/make_learned_data.py. Writes annotate/web/tests/learned.json;
annotate/tests/web/test_data.py checks that it is what this gives, up to the last digits, which depend on the machine.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from segvoc.teaching.examples import Cells, labels_of_cells
from segvoc.teaching.learning import held_out_parts, learn

PATH = Path(__file__).resolve().parents[1] / "web/tests/learned.json"

WORDS = ("grass", "brick", "sky", "fog", "never shown")
IMAGES, CELLS, CHANNELS = 6, 440, 10
"""Together more cells than are in a batch."""


def case() -> dict[str, Any]:
    """Drawn numbers, drawn cells, and what is learned from them."""
    cells = drawn_cells()
    shown = np.array([len(np.unique(cells.images[cells.labels == word])) for word in range(len(WORDS))])
    pixels = np.bincount(cells.labels, minlength=len(WORDS))
    learned = learn(cells, WORDS, pixels, shown, parts=held_out_parts(cells.images, 0))
    classifiers, components = learned.classifiers, learned.components
    random = np.random.default_rng(0)
    map_of_labels = np.arange(35, dtype=np.uint16).reshape(5, 7)
    map_of_labels[:2, :3] = 65535
    return {
        "random": {
            "doubles": random.random(3).tolist(),
            "below": random.integers(1000, size=5).tolist(),
            "more": random.random(2).tolist(),
            "permutation": random.permutation(np.arange(20)).tolist(),
            "choice": random.choice(6, 4, replace=False, p=[0.05, 0.3, 0.1, 0.25, 0.2, 0.1]).tolist(),
        },
        "cells": {
            "words": WORDS,
            "channels": CHANNELS,
            "features": text(cells.features),
            "by_text": text(cells.zero_shot),
            "mixed": text(cells.mixed),
            "labels": text(cells.labels.astype(np.int32)),
            "images": text(cells.images.astype(np.int32)),
            "weights": text(cells.weights),
            "pixels": pixels.tolist(),
            "shown": shown.tolist(),
        },
        "grid": {"labels": text(map_of_labels), "found": labels_of_cells(map_of_labels, (3, 4)).ravel().tolist()},
        "learned": {
            "penalty": list(learned.penalty),
            "share": learned.share,
            "taught": classifiers.words.tolist(),
            "weights": (classifiers.weights @ components.basis.T).ravel().tolist(),
            "bias": classifiers.bias.tolist(),
            "mean": components.mean.tolist(),
            "scale": components.scale.tolist(),
            "words": [[word.before, word.after, word.keeps_text] for word in learned.words],
            "miou": [learned.before.miou, learned.after.miou],
            "accuracy": [learned.before.accuracy, learned.after.accuracy],
        },
    }


def drawn_cells() -> Cells:
    """Cells around a place for each word; one word is in a single image, and the text knows only some."""
    random = np.random.default_rng(1)
    places = 2 * random.standard_normal((len(WORDS), CHANNELS))
    images = np.repeat(np.arange(IMAGES), CELLS)
    labels = random.integers(3, size=len(images))
    labels[(images == 2) & (random.random(len(images)) < 0.2)] = 3
    features = places[labels] + 2.5 * random.standard_normal((len(images), CHANNELS))
    by_text = random.standard_normal((len(images), len(WORDS)))
    by_text[np.arange(len(images)), labels] += np.array([2.0, 0.3, 0.0, 3.0])[labels]
    mixed = by_text.copy()
    mixed[np.arange(len(images)), labels] += 2.0
    return Cells(
        features.astype(np.float16),
        by_text.astype(np.float16),
        mixed[None].astype(np.float16),
        labels,
        random.integers(1, 9, len(images)).astype(np.float32),
        images,
    )


def text(array: np.ndarray) -> str:
    """An array's bytes as base64."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


if __name__ == "__main__":
    PATH.write_text(json.dumps(case()) + "\n", encoding="utf-8")
    print(f"{PATH.name}: {PATH.stat().st_size} bytes")

"""What smoothing over time gives: flicker and accuracy of a video with and without it (`--smooth`).

    python -m benchmarks.video_smoothing IMAGES LABELS CLASSES [--photos 6] [--frames 16] [--noise 12] [--step 2]

IMAGES, LABELS and CLASSES are a labeled data set as for `segvoc evaluate`. Of each photograph, two videos are made in
memory: a "still" one, which shows the same window in all frames, and a "panned" one, whose window moves by a few pixels
a frame; both with fresh noise (Gaussian, of the deviation NOISE of 255) in every frame. Flicker is the share of pixels
whose label changes from one frame to the next; in the panned video, pixels of the same point of the photograph are
compared. Accuracy is the share of pixels with their true label. The network runs once for each frame; every setting
gets the same outputs. Prints one line of JSON.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import segvoc
from segvoc.exported.shipped import open_tiny
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference import smoothing
from segvoc.inference.segmenter import Segmenter

PLAIN = 1e9
"""A `MOVED` with which the mean doesn't look at the image."""

SETTINGS = [(0.0, 0.1), (0.5, 0.1), (0.8, 0.1), (0.9, 0.1), (0.8, 0.05), (0.8, 0.2), (0.5, PLAIN), (0.8, PLAIN)]
"""Weights, and color differences at which the mean lets go."""


def video(photo: np.ndarray, frames: int, step: int, noise: float, seed: int) -> Iterator[np.ndarray]:
    """Frames of a window that moves over a photograph to the right."""
    draw = np.random.default_rng(seed)
    width = photo.shape[1] - step * (frames - 1)
    for number in range(frames):
        window = photo[:, number * step : number * step + width]
        noisy = window + draw.normal(0, noise, window.shape)
        yield np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def remember_outputs(model: Segmenter) -> None:
    """Let a model run its network once for equal inputs."""
    run, known = model.run, {}

    def remembered(pixels: np.ndarray, text: Any, protocol: Any) -> Any:
        key = hash(pixels.tobytes()), protocol
        if key not in known:
            known[key] = run(pixels, text, protocol)
        return known[key]

    model.run = remembered


def measure(
    model: Segmenter, words: Any, frames: list[np.ndarray], truth: list[np.ndarray], step: int, weight: float
) -> Mapping[str, float]:
    """Flicker and accuracy of one video."""
    mean = smoothing.Smoothing(weight) if weight else None
    labels = [found.labels for found in model.segment_many(frames, words, smoothing=mean)]
    moved = [
        (before[:, step:] != after[:, : after.shape[1] - step]).mean() for before, after in itertools.pairwise(labels)
    ]
    right = [(found == true)[true != UNLABELED].mean() for found, true in zip(labels, truth, strict=True)]
    half = len(frames) // 2
    return {"flicker": float(np.mean(moved[half:])), "accuracy": float(np.mean(right[half:]))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("classes", type=Path)
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--noise", type=float, default=12.0)
    parser.add_argument("--step", type=int, default=2)
    asked = parser.parse_args()
    model = open_tiny()
    remember_outputs(model)
    data = segvoc.LabeledImages.from_folders(asked.images, asked.labels, classes=asked.classes)
    words = model.encode(data.vocabulary)
    found: dict[tuple[str, float, float], list[Mapping[str, float]]] = {}
    chosen = range(0, len(data), max(1, len(data) // asked.photos))
    for index in list(chosen)[: asked.photos]:
        photo, true = data.read(index)
        for name, step in (("still", 0), ("panned", asked.step)):
            frames = list(video(photo, asked.frames, step, asked.noise, seed=index))
            truth = [true[:, n * step : n * step + frames[0].shape[1]] for n in range(asked.frames)]
            for weight, moved in SETTINGS:
                smoothing.MOVED = moved
                found.setdefault((name, weight, moved), []).append(measure(model, words, frames, truth, step, weight))
    rows = [
        {
            "video": name,
            "weight": weight,
            "moved": None if moved == PLAIN else moved,
            **{key: round(float(np.mean([one[key] for one in results])), 5) for key in results[0]},
        }
        for (name, weight, moved), results in found.items()
    ]
    print(json.dumps({**{key: str(value) for key, value in vars(asked).items()}, "results": rows}))


if __name__ == "__main__":
    main()

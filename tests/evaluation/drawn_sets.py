"""Labeled images drawn by the tests: squares in random colors, with random labels."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segvoc.data.labeled_images import LabeledImages
from segvoc.evaluation.task import EvaluationTask

WORDS = ("cat", "sofa", "wall", "rocket", "cup")


def draw_set(folder: Path, count: int = 5, words: Sequence[str] = WORDS) -> Path:
    """`images/`, `labels/` and `classes.json`; a tenth of the pixels is ignored, the last word is never true."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng(number)
        squares = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        Image.fromarray(np.kron(squares, np.ones((10, 10, 1), np.uint8))).save(folder / f"images/{number}.png")
        labels = np.kron(rng.integers(0, len(words) - 1, (2, 3), dtype=np.uint8), np.ones((20, 20), np.uint8))
        labels[rng.random(labels.shape) < 0.1] = 255
        Image.fromarray(labels).save(folder / f"labels/{number}.png")
    (folder / "classes.json").write_text(json.dumps(list(words)), encoding="utf-8")
    return folder


def arguments(folder: Path) -> list[str]:
    """The options of the command line that name a drawn set."""
    return [f"--{name}={folder / file}" for name, file in (("images", "images"), ("labels", "labels"))] + [
        f"--classes={folder / 'classes.json'}"
    ]


def task_of(folder: Path, background: str | None = None) -> EvaluationTask:
    files = (folder / "images", folder / "labels", folder / "classes.json")
    return EvaluationTask.of_images(LabeledImages.from_folders(*files, background=background))


def scores_of(report: dict) -> dict:
    """What must not depend on how the evaluation was run."""
    return {name: value for name, value in report.items() if name not in ("latency_seconds", "peak_memory_gb", "run")}

"""How fast a GPU evaluates: images per second, and the share of the time in which it computes, by its driver.

    python -m benchmarks.gpu_evaluation [--model pca-seg-b] [--images 200] [--device cpu]

`segvoc.evaluate` with random weights on images of 683x512 pixels, with the words and the protocol of A-150.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import segvoc
from benchmarks.machine import keep
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.labeled_images import LabeledImages
from segvoc.evaluation.task import EvaluationSettings


def drawn(root: Path, count: int, words: Sequence[str]) -> LabeledImages:
    """Noise of ADE20K's usual size, in labeled rectangles."""
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    generator, (width, height) = np.random.default_rng(0), (683, 512)
    for number in range(count):
        cells = Image.fromarray(generator.integers(0, len(words), (8, 8)).astype(np.uint8))
        cells.resize((width, height), Image.Resampling.NEAREST).save(root / f"labels/{number}.png")
        noise = generator.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / f"images/{number}.jpg")
    (root / "classes.json").write_text(json.dumps(words), encoding="utf-8")
    return LabeledImages.from_folders(root / "images", root / "labels", root / "classes.json")


def main() -> None:
    """Evaluate, and save the speed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="pca-seg-b")
    parser.add_argument("--images", type=int, default=200)
    given = parser.parse_args()
    words, busy, done = find_benchmark("a-150").classes, list[float](), threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            busy.append(torch.cuda.utilization() / 100)

    model = segvoc.load(given.model, weights="random", device=given.device)
    settings = EvaluationSettings(options={"window": "official"})
    with tempfile.TemporaryDirectory() as name:
        images = drawn(Path(name), given.images, words)
        segvoc.evaluate(model, images.only(range(min(8, given.images))), Path(name, "first"), settings)
        if given.device != "cpu":
            threading.Thread(target=watch).start()
        start = scored = time.perf_counter()

        def mark(image: object, error: str | None) -> None:
            nonlocal scored
            scored = time.perf_counter()  # without the report, which the CPU draws

        segvoc.evaluate(model, images, Path(name, "report"), settings, on_result=mark)
        done.set()
    seconds = scored - start
    row: dict[str, object] = {
        "model": given.model,
        "images": given.images,
        "words": len(words),
        "seconds": seconds,
        "images_a_second": given.images / seconds,
        "busy": statistics.mean(busy[: int(seconds / 0.1)]) if busy else None,
    }
    keep("gpu_evaluation", [row], given.device)


if __name__ == "__main__":
    main()

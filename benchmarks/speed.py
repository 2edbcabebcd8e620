"""How fast `tiny` labels on a CPU, and a GPU evaluates.

    python -m benchmarks.speed tiny [--repeats N] [--light PYTHON]
    python -m benchmarks.speed evaluation [--model pca-seg-b] [--images 200] [--device cpu]

`tiny` labels the sample photographs with 133 words, on 2 threads. Rows: each photograph with cached text embeddings,
without writing files, by PyTorch and by the programs that run without it; one photograph with new words; and the
command from a cold start to its written files, with its peak memory. `--light` is the Python of an environment with
`pip install segvoc` alone, whose command is measured, too.

`evaluation` is `segvoc.evaluate` with random weights on images of 683x512 pixels, with the words and the protocol of
A-150: images per second, and the share of the time in which the GPU computes, by its driver.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import segvoc
from benchmarks.machine import fastest, keep
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.labeled_images import LabeledImages
from segvoc.evaluation.task import EvaluationSettings
from segvoc.models.shipped import open_tiny
from segvoc.runtime.process_settings import keep_freed_memory

ROOT = Path(__file__).parent.parent
COCO_WORDS = ROOT / "benchmarks" / "coco_panoptic_words.txt"


def measure_tiny(repeats: int, light: Path | None) -> None:
    """Measure, print and save the table of `tiny`."""
    keep_freed_memory()  # as the command line does, which the figures are meant for
    torch.set_num_threads(2)
    words = COCO_WORDS.read_text(encoding="utf-8").splitlines()
    model, programs = segvoc.load_network("tiny"), open_tiny()
    photos = sorted((ROOT / "samples").glob("*.jpg"))
    rows: list[dict[str, object]] = []
    for one, how in ((model, ""), (programs, ", without PyTorch")):
        for photo in photos:
            seconds = fastest(partial(one.segment, photo, words), repeats)
            rows.append({"what": f"{photo.name}, {len(words)} words{how}", "seconds": seconds})
    numbers = itertools.count()

    def new_words() -> None:
        number = next(numbers)
        model.segment(photos[0], [f"{word} {number}" for word in words])

    rows.append({"what": f"{photos[0].name}, {len(words)} new words", "seconds": fastest(new_words, repeats)})
    rows = [{**row, "peak_gb": "-"} for row in rows]
    for what, python in (("command without PyTorch", light), ("command", Path(sys.executable))):
        if python is not None:
            seconds, gigabytes = zip(*(_command(python) for _ in range(repeats)), strict=True)
            row = {"what": f"{what}, cold start to written files", "seconds": min(seconds)}
            rows.append({**row, "peak_gb": max(gigabytes)})
    keep("tiny_speed", rows, dtype=model.dtype)


MEASURED = """import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - start
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9]))"""
"""Runs a command from a small process: the peak of one that a large process starts is at least that process's."""


def _command(python: Path) -> tuple[float, float]:
    """Time [s] and peak memory [GB] of the command."""
    with tempfile.TemporaryDirectory() as out:
        arguments = ["segment", str(ROOT / "samples/chelsea.jpg"), "--words-file", str(COCO_WORDS), "--out", out]
        command = [sys.executable, "-c", MEASURED, os.fspath(python), "-m", "segvoc", *arguments]
        seconds, gigabytes = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return seconds, gigabytes


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


def measure_evaluation(preset: str, count: int, device: str) -> None:
    """Evaluate, and save the speed."""
    words, busy, done = find_benchmark("a-150").classes, list[float](), threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            busy.append(torch.cuda.utilization() / 100)

    model = segvoc.load(preset, weights="random", device=device)
    settings = EvaluationSettings(options={"window": "official"})
    with tempfile.TemporaryDirectory() as name:
        images = drawn(Path(name), count, words)
        segvoc.evaluate(model, images.only(range(min(8, count))), Path(name, "first"), settings)
        if device != "cpu":
            threading.Thread(target=watch).start()
        start = scored = time.perf_counter()

        def mark(image: object, error: str | None) -> None:
            nonlocal scored
            scored = time.perf_counter()  # without the report, which the CPU draws

        segvoc.evaluate(model, images, Path(name, "report"), settings, on_result=mark)
        done.set()
    seconds = scored - start
    row: dict[str, object] = {
        "model": preset,
        "images": count,
        "words": len(words),
        "seconds": seconds,
        "images_a_second": count / seconds,
        "busy": statistics.mean(busy[: int(seconds / 0.1)]) if busy else None,
    }
    keep("gpu_evaluation", [row], device)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    tiny, evaluation = kinds.add_parser("tiny"), kinds.add_parser("evaluation")
    tiny.add_argument("--repeats", type=int, default=5)
    tiny.add_argument("--light", type=Path, help="Python of an environment without PyTorch")
    evaluation.add_argument("--device", default="cuda")
    evaluation.add_argument("--model", default="pca-seg-b")
    evaluation.add_argument("--images", type=int, default=200)
    chosen = parser.parse_args()
    if chosen.what == "tiny":
        measure_tiny(chosen.repeats, chosen.light)
    else:
        measure_evaluation(chosen.model, chosen.images, chosen.device)


if __name__ == "__main__":
    main()

"""Work on a GPU as a user runs it: a training, killed and resumed, and an evaluation.

    python -m benchmarks.gpu_work training [--recipe pca-seg-b-released] [--steps 200] [--set NAME=VALUE]
    python -m benchmarks.gpu_work evaluation [--model pca-seg-b] [--images 200]

training: `segvoc train` on drawn images of three classes, from random weights, once in one go and once killed by
SIGKILL after half of the steps. The exit code is 1 unless both runs log every step once, and the means of their losses
over the last quarter are alike and low. Single steps differ: on a GPU sums are in another order in each run.

evaluation: `segvoc.evaluate` on drawn photographs of 683x512 pixels with the words and the protocol of A-150, from
random weights: images per second, and the share of the time in which the GPU computes, as its driver samples it.

Both take --device cpu, to try them without a GPU.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import segvoc
from benchmarks.machine import keep
from segvoc.data.benchmarks import find_benchmark
from segvoc.data.labeled_images import LabeledImages
from segvoc.evaluation.task import EvaluationSettings
from segvoc.training.run_folder import RunFolder
from tests.training.runs import drawn_images

LARGEST_DIFFERENCE = 0.05
"""Of the two runs' losses at the end, relative to the first loss."""
SETTINGS = ("batch_size=4", "short_sides=384", "precision=bfloat16", "num_workers=4", "eval_every=0")


def train(data: Path, out: Path, options: Sequence[str], kill_at: int | None = None) -> None:
    """Train until the end, or until a step is logged."""
    command = [sys.executable, "-m", "segvoc", "train", *options, "--out", str(out), "--track", "none"]
    command += [f"--images={data}/images", f"--labels={data}/labels", f"--classes={data}/classes.json"]
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            if kill_at is not None and len(RunFolder(out).read_lines("metrics.jsonl")) >= kill_at:
                process.kill()
            time.sleep(0.05)
    if kill_at is None and process.returncode:
        raise SystemExit(f"the training ended with exit code {process.returncode}")


def training(given: argparse.Namespace) -> None:
    """Train twice, compare, and save the times."""
    options = [given.recipe, "--weights", "random", "--steps", str(given.steps), "--device", given.device]
    settings = dict(one.split("=") for one in (*SETTINGS, f"save_every={max(1, given.steps // 8)}", *given.settings))
    options += [f"--set={name}={value}" for name, value in settings.items()]
    with tempfile.TemporaryDirectory() as name:
        data, whole, resumed = (Path(name, folder) for folder in ("data", "whole", "resumed"))
        drawn_images(data, 24)
        train(data, whole, options)
        train(data, resumed, options, kill_at=given.steps // 2)
        train(data, resumed, [*options, "--resume"])
        runs = [RunFolder(out).read_lines("metrics.jsonl") for out in (whole, resumed)]
    first = runs[0][0]["loss"]
    last = [statistics.mean(line["loss"] for line in run[-max(1, given.steps // 4) :]) for run in runs]
    row: dict[str, object] = {
        "recipe": given.recipe,
        "settings": " ".join(f"{name}={value}" for name, value in settings.items()),
        "steps": given.steps,
        "seconds_a_step": statistics.median(line["seconds"] for line in runs[0][given.steps // 2 :]),
        "first_loss": first,
        "last_loss": last[0],
        "last_loss_resumed": last[1],
    }
    keep("gpu_training", [row], given.device)
    whole_runs = all([line["step"] for line in run] == list(range(1, given.steps + 1)) for run in runs)
    if not whole_runs or max(last) > first / 2 or abs(last[0] - last[1]) > LARGEST_DIFFERENCE * first:
        raise SystemExit("the resumed run differs from the one in one go, or the loss didn't fall")


def photographs(root: Path, count: int, words: Sequence[str]) -> LabeledImages:
    """Noise of ADE20K's usual size, in labeled rectangles."""
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    generator, size = np.random.default_rng(0), (683, 512)
    for number in range(count):
        cells = Image.fromarray(generator.integers(0, len(words), (8, 8)).astype(np.uint8))
        cells.resize(size, Image.Resampling.NEAREST).save(root / f"labels/{number}.png")
        noise = generator.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
        Image.fromarray(noise).save(root / f"images/{number}.jpg")
    (root / "classes.json").write_text(json.dumps(words), encoding="utf-8")
    return LabeledImages.from_folders(root / "images", root / "labels", root / "classes.json")


def evaluation(given: argparse.Namespace) -> None:
    """Evaluate, and save the speed."""
    words, busy, done = find_benchmark("a-150").classes, list[float](), threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            busy.append(torch.cuda.utilization() / 100)

    model = segvoc.load(given.model, weights="random", device=given.device)
    settings = EvaluationSettings(options={"window": "official"})
    with tempfile.TemporaryDirectory() as name:
        images = photographs(Path(name), given.images, words)
        segvoc.evaluate(model, images.only(range(min(8, given.images))), Path(name, "first"), settings)
        watcher = threading.Thread(target=watch)
        if given.device != "cpu":
            watcher.start()
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


WORK: Mapping[str, Callable[[argparse.Namespace], None]] = {"training": training, "evaluation": evaluation}


def main() -> None:
    """Run one of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WORK)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recipe", default="pca-seg-b-released")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--model", default="pca-seg-b")
    parser.add_argument("--images", type=int, default=200)
    given = parser.parse_args()
    WORK[given.what](given)


if __name__ == "__main__":
    main()

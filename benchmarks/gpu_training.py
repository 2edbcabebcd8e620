"""A training on a GPU as a user runs it, once in one go and once killed and resumed, and both compared.

    python -m benchmarks.gpu_training [--recipe pca-seg-b-released] [--steps 200] [--device cuda] [--set NAME=VALUE]

`segvoc train` on drawn images of three classes, from random weights. SIGKILL comes after half of the steps. The exit
code is 1 unless both runs log every step once, and the means of their losses over the last quarter are alike and low.
Single steps differ: on a GPU sums are in another order in each run.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import keep
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


def main() -> None:
    """Train twice, compare, and save the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="pca-seg-b-released")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--set", dest="settings", action="append", default=[])
    given = parser.parse_args()
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


if __name__ == "__main__":
    main()

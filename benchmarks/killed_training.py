"""A training that is killed and resumed: do its steps continue, and how long does one take?

    python -m benchmarks.killed_training [--device cuda] [--steps 200] [--kill-at 100]

Fine-tunes tiny with the command on images drawn here, sends SIGKILL after `kill-at` recorded steps, and resumes. Fails
unless every step from 1 to the last is recorded once, with a finite loss.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from benchmarks.machine import keep
from tools.check_core_install import draw_labeled_images

SETTINGS = ("batch_size=2", "crop_size=128", "short_sides=128", "num_workers=0", "save_every=10", "eval_every=0")


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The recorded steps, without a last line that a kill has cut."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def main() -> None:
    """Train, kill, resume, check, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kill-at", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        data = draw_labeled_images(Path(folder) / "set", 8)
        call = [
            sys.executable,
            "-c",
            "from segvoc.cli import main; main()",
            "train",
            "finetune",
            "--model",
            "tiny",
            *data,
        ]
        call += ["--out", "run", "--steps", str(arguments.steps), "--device", arguments.device]
        call += [word for setting in SETTINGS for word in ("--set", setting)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path[:2]))}
        first = subprocess.Popen(call, cwd=folder, env=environment)
        while first.poll() is None and len(read_metrics(run)) < arguments.kill_at:
            time.sleep(0.02)
        if first.poll() is not None:
            sys.exit(f"the training ended by itself (exit code {first.returncode}) before it could be killed")
        first.kill()
        first.wait()
        killed_at = len(read_metrics(run))
        subprocess.run([*call, "--resume"], cwd=folder, env=environment, check=True)
        metrics = read_metrics(run)
        finished = (run / "model.safetensors").exists()
    steps, losses = [line["step"] for line in metrics], [line["loss"] for line in metrics]
    if steps != list(range(1, arguments.steps + 1)) or not finished or not all(map(math.isfinite, losses)):
        sys.exit(f"the steps don't continue after the kill at {killed_at}: {steps}")
    tenth = max(1, len(losses) // 10)
    row: dict[str, object] = {
        "steps": len(steps),
        "killed_at": killed_at,
        "seconds_per_step": median(line["seconds"] for line in metrics),
        "first_tenth_loss": fmean(losses[:tenth]),
        "last_tenth_loss": fmean(losses[-tenth:]),
    }
    device = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else arguments.device
    if arguments.device.startswith("cuda"):
        keep("killed_training", [row], device=device)
    else:
        print(row)


if __name__ == "__main__":
    main()

"""Time and memory of `tiny` on the sample photographs with 133 words, on 2 threads.

    python -m benchmarks.tiny_speed [--repeats N] [--light PYTHON]

Rows: each photograph with cached text embeddings, without writing files, by PyTorch and by the programs that run
without it; one photograph with new words; and the command from a cold start to its written files, with its peak
memory. `--light` is the Python of an environment with `pip install segvoc` alone, whose command is measured, too.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

import segvoc
from benchmarks.machine import fastest, keep
from segvoc.models.shipped import open_tiny
from segvoc.runtime.process_settings import keep_freed_memory

ROOT = Path(__file__).parent.parent
COCO_WORDS = ROOT / "benchmarks" / "coco_panoptic_words.txt"


def main() -> None:
    """Measure, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--light", type=Path, help="Python of an environment without PyTorch")
    chosen = parser.parse_args()
    repeats = chosen.repeats
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
    for what, python in (("command without PyTorch", chosen.light), ("command", Path(sys.executable))):
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


if __name__ == "__main__":
    main()

"""Time and memory of `tiny` on the sample photographs with 133 words, on 2 threads.

    python -m benchmarks.tiny_speed [--repeats N]

Rows: each photograph with cached text embeddings, without writing files; one photograph with new words; and the command
from a cold start to its written files, with its peak memory.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

import segvoc
from benchmarks.machine import fastest, keep
from segvoc.hardware import peak_gigabytes

ROOT = Path(__file__).parent.parent
COCO_WORDS = ROOT / "benchmarks" / "coco_panoptic_words.txt"


def main() -> None:
    """Measure, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    segvoc.keep_freed_memory()  # as the command line does, which the figures are meant for
    torch.set_num_threads(2)
    words = COCO_WORDS.read_text(encoding="utf-8").splitlines()
    model = segvoc.load("tiny")
    photos = sorted((ROOT / "samples").glob("*.jpg"))
    rows: list[dict[str, object]] = []
    for photo in photos:
        seconds = fastest(partial(model.segment, photo, words), repeats)
        rows.append({"what": f"{photo.name}, {len(words)} words", "seconds": seconds})
    fresh = [0]

    def new_words() -> None:
        fresh[0] += 1
        model.segment(photos[0], [f"{word} {fresh[0]}" for word in words])

    rows.append({"what": f"{photos[0].name}, {len(words)} new words", "seconds": fastest(new_words, repeats)})
    rows.append({"what": "command, cold start to written files", "seconds": min(_command() for _ in range(repeats))})
    memory = peak_gigabytes(of_children=True)
    rows = [{**row, "peak_gb": memory if "command" in str(row["what"]) else "-"} for row in rows]
    keep("tiny_speed", rows, dtype=model.dtype)


def _command() -> float:
    with tempfile.TemporaryDirectory() as out:
        arguments = ["segment", str(ROOT / "samples/chelsea.jpg"), "--words-file", str(COCO_WORDS), "--out", out]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "segvoc", *arguments], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


if __name__ == "__main__":
    main()

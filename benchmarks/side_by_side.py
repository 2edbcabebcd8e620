"""Speed of this checkout compared with another one, row by row in one run.

    git worktree add /tmp/before COMMIT
    python -m benchmarks.against_official --before /tmp/before [--repeats N]

Each checkout has its own worker process; the two alternate call by call, so that changes in the machine's speed affect
both alike. "ratio" is the median ratio of this checkout's time to the other's over pairs of calls; above 1.05 a row has
become slower. Random weights (`tiny`: its own), fp32, 2 threads, words encoded before timing starts.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import IO, cast

from benchmarks.machine import keep

ROOT = Path(__file__).resolve().parents[1]

ROWS: dict[str, dict[str, object]] = {
    "tiny-133": {"model": "tiny", "words": 133, "size": [480, 640]},
    "tiny-20": {"model": "tiny", "words": 20, "size": [480, 640]},
    "pca-seg-b-20": {"model": "pca-seg-b", "words": 20, "window": "single"},
    "pca-seg-b-59": {"model": "pca-seg-b", "words": 59, "window": "single"},
    "pca-seg-b-171": {"model": "pca-seg-b", "words": 171, "window": "single"},
    "pca-seg-b-171-kept-32": {"model": "pca-seg-b", "words": 171, "window": "single", "keep": 32},
    "pca-seg-b-171-official": {"model": "pca-seg-b", "words": 171, "window": "official", "size": [480, 640]},
    "cat-seg-b-20": {"model": "cat-seg-b", "words": 20, "window": "single"},
    "cat-seg-b-59": {"model": "cat-seg-b", "words": 59, "window": "single"},
    "cat-seg-b-171": {"model": "cat-seg-b", "words": 171, "window": "single"},
    "err-seg-b-150": {"model": "err-seg-b", "words": 150, "window": "single"},
    "syn-seg-b-21": {"model": "syn-seg-b", "words": 21, "window": "single"},
    "syn-seg-b-171": {"model": "syn-seg-b", "words": 171, "window": "single"},
    "part-cat-seg-b-20": {"model": "part-cat-seg-b", "words": 20, "window": "single"},
}
"""Measurements; "size": height and width of the image [px], "keep": number of classes to keep."""

WORKER = """
import ctypes, json, sys, time
import numpy as np, torch, segvoc
torch.set_num_threads(2)
libc = ctypes.CDLL(None)  # the command line's memory settings, for both checkouts
libc.mallopt(-3, 32 << 20), libc.mallopt(-1, 1 << 30)
calls, models = {}, {}
def prepared(row):
    if row["model"] not in models:
        models.clear(), calls.clear()
        weights = None if row["model"] == "tiny" else "random"
        models[row["model"]] = segvoc.load(row["model"], weights=weights, dtype="float32")
    model = models[row["model"]]
    words = [f"word {n}" for n in range(row["words"])]
    words = model.encode(words) if hasattr(model, "encode") else words
    image = np.random.default_rng(0).integers(256, size=(*row.get("size", [384, 384]), 3), dtype=np.uint8)
    options = {"window": row.get("window", "auto"), "keep_classes": row.get("keep")}
    return lambda: model.segment(image, words, **options)
for line in sys.stdin:
    row = json.loads(line)
    key = json.dumps(row)
    if key not in calls:
        calls[key] = prepared(row)
        calls[key]()
    start = time.perf_counter()
    calls[key]()
    print(json.dumps(time.perf_counter() - start), flush=True)
"""


class Worker:
    """A process that makes calls with the code of one checkout."""

    def __init__(self, checkout: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "GOMP_SPINCOUNT": "1000"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def seconds(self, row: dict[str, object]) -> float:
        """Time of one call of a row [s]; before the first one comes an unmeasured call."""
        stdin, stdout = cast(IO[str], self.process.stdin), cast(IO[str], self.process.stdout)
        stdin.write(json.dumps(row) + "\n")
        stdin.flush()
        return float(json.loads(stdout.readline()))


def compare(other: Path, repeats: int) -> None:
    """Measure the rows in this checkout and another one alternately; print and save the table."""
    here, there = Worker(ROOT), Worker(other.resolve())
    lines: list[dict[str, object]] = []
    for name, row in ROWS.items():
        pairs = [(here.seconds(row), there.seconds(row)) for _ in range(repeats)]
        lines.append(
            {
                "row": name,
                "seconds": statistics.median(ours for ours, _ in pairs),
                "seconds_before": statistics.median(theirs for _, theirs in pairs),
                "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
                "ratio_of_minima": min(ours for ours, _ in pairs) / min(theirs for _, theirs in pairs),
            }
        )
        print(lines[-1], file=sys.stderr)
    commit = subprocess.run(["git", "-C", str(other), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    keep("side_by_side", lines, before=commit.stdout.strip())

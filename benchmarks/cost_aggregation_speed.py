"""Time and memory of PCA-Seg, CAT-Seg and ERR-Seg at real size, compared with the official code.

    python benchmarks/cost_aggregation_speed.py [--rows single sliding many] [--repeats N]

Random weights, fp32, 2 threads, cached text embeddings. "single": one 384 px square, class pooling (2, 2); "sliding":
the published test protocol on a 640x480 image (five views, pooling (1, 1)), including labels at image size; "many": an
image with 1,000 words; "kept": an image with class selection. Each row runs in a process of its own, whose peak
resident memory it reports.

The official figures (../shared/specs, section 12) were measured on an otherwise idle machine of this type, on which a
2048x2048 matrix product ran at 190 GFLOP/s. "ratio" is official time over ours, both in units of such a product, which
is measured right before and after each row.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from machine import fastest, keep, matrix_rate

import segvoc
from segvoc.layers.class_selection import MostSimilar

OFFICIAL_RATE = 190.0
SETTINGS = ["single", "sliding", "many", "kept"]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "explanation" / "speed.md"
START, END = "<!-- speed -->", "<!-- /speed -->"
"""Marks before and after the table on that page."""


@dataclass(frozen=True)
class Row:
    """A measurement, and the official code's figures for it."""

    setting: str
    """One of `SETTINGS`."""
    model: str
    """Name of the preset."""
    words: int
    """Number of classes."""
    seconds: float | None = None
    """Time of the official code [s]."""
    memory: float | None = None
    """Peak resident memory of the official code [GB]."""
    keep: int | None = None
    """Classes to keep; None: all."""


ROWS = (
    Row("single", "pca-seg-b", 20, 3.05, 2.0),
    Row("single", "pca-seg-b", 59, 5.90, 2.4),
    Row("single", "pca-seg-b", 171, 18.4, 2.9),
    Row("single", "pca-seg-b", 459, 30.8, 3.5),
    Row("single", "cat-seg-b", 20, 1.62, 2.0),
    Row("single", "cat-seg-b", 59, 3.32, 2.2),
    Row("single", "cat-seg-b", 171, 8.68, 2.8),
    Row("sliding", "pca-seg-b", 171, 185, 7.6),
    Row("sliding", "cat-seg-b", 171, 77, 7.4),
    Row("many", "pca-seg-b", 1000),
    Row("kept", "pca-seg-b", 171, 18.4, 2.9, keep=32),
    Row("kept", "pca-seg-b", 847, keep=32),
    Row("kept", "err-seg-b", 150, 4.68, 2.3, keep=32),
    Row("kept", "err-seg-b", 847, 8.81, 5.3, keep=48),
)


def measured(row: Row, repeats: int) -> dict[str, object]:
    """Measure one row in this process."""
    segvoc.keep_freed_memory()  # as the command line does, which the figures are meant for
    torch.set_num_threads(2)
    model = segvoc.load(row.model, weights="random", device="cpu")
    words = [f"word {number}" for number in range(row.words)]
    text = model.encode_words(segvoc.Vocabulary(words))
    generator = np.random.default_rng(0)
    if row.setting == "single":
        size = model.protocols["single"].size
        image = torch.from_numpy(generator.integers(0, 256, (1, 3, size, size))).float()
        # as released: all layers but the first see at most 256 classes
        selection = MostSimilar(256) if row.words > 256 else None

        def work() -> None:
            with torch.inference_mode():
                model.network(image, text, selection=selection, chunk=model.class_chunk)
    else:
        photo = generator.integers(0, 256, (640 if row.setting == "kept" else 480, 640, 3), dtype=np.uint8)
        window = "official" if row.setting == "sliding" else "single"

        def work() -> None:
            model.segment(photo, words, window=window, keep_classes=row.keep)

    before = matrix_rate()
    seconds = fastest(work, 1 if row.setting in ("sliding", "many") else repeats)
    rate = (before + matrix_rate()) / 2
    return {
        "setting": row.setting,
        "model": row.model,
        "words": row.words,
        "kept": row.keep or "-",
        "seconds": seconds,
        "gflops": rate,
        "official_seconds": row.seconds or "-",
        "ratio": row.seconds * OFFICIAL_RATE / (seconds * rate) if row.seconds else "-",
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "official_gigabytes": row.memory or "-",
    }


def show(rows: list[dict[str, object]]) -> None:
    """Write the table into `PAGE`."""
    lines = ["| | words | seconds | official | times as fast | GB | official |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        label = {"single": "", "sliding": ", published test protocol", "many": ", one photograph"}.get(
            str(row["setting"]), f", {row['kept']} kept"
        )
        figures = [row[key] for key in ("seconds", "official_seconds", "ratio", "gigabytes", "official_gigabytes")]
        cells = [f"{figure:.3g}" if isinstance(figure, float) else str(figure) for figure in figures]
        lines.append(f"| `{row['model']}`{label} | {row['words']} | {' | '.join(cells)} |")
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    text = before + START + "\n" + "\n".join(lines) + "\n" + END + rest.split(END)[1]
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure each row in a process of its own; print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(Row(**json.loads(arguments.one)), arguments.repeats)))
        return
    rows: list[dict[str, object]] = []
    for row in (row for row in ROWS if row.setting in arguments.rows):
        command = [sys.executable, __file__, "--one", json.dumps(asdict(row)), "--repeats", str(arguments.repeats)]
        environment = {"GOMP_SPINCOUNT": "1000"} | os.environ  # as the command line sets it
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        rows.append(json.loads(output.splitlines()[-1]))
        print(rows[-1], file=sys.stderr)
    keep("cost_aggregation_speed", rows)
    if len(rows) == len(ROWS):
        show(rows)


if __name__ == "__main__":
    main()

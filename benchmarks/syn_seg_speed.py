"""Time of SynSeg with five views at real size.

    python -m benchmarks.syn_seg_speed [--repeats N]

Random weights, fp32, 2 threads, cached text embeddings, a 640x480 image, including labels at its size.
"""

import argparse

import numpy as np
import torch

import segvoc
from benchmarks.machine import fastest, keep
from segvoc.hardware import peak_gigabytes

ROWS = ((21, None), (171, None), (171, 21), (171, 16))
"""Number of words, and how many of them are kept (None: all)."""


def main() -> None:
    """Measure each row; print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4)
    repeats = parser.parse_args().repeats
    segvoc.keep_freed_memory()  # as the command line does, which the figures are meant for
    torch.set_num_threads(2)
    model = segvoc.load("syn-seg-b", weights="random", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    rows: list[dict[str, object]] = []
    first = 0.0
    for count, kept in ROWS:
        words = [f"word {number}" for number in range(count)]
        model.encode_words(segvoc.Vocabulary(words))

        def work(words: list[str] = words, kept: int | None = kept) -> None:
            model.segment(image, words, window="official", keep_classes=kept)

        seconds = fastest(work, repeats)
        first = first or seconds
        rows.append(
            {
                "words": count,
                "kept": kept or "-",
                "seconds": seconds,
                "times 21 words": seconds / first,
                "gigabytes": peak_gigabytes(),
            }
        )
    keep("syn_seg_speed", rows)


if __name__ == "__main__":
    main()

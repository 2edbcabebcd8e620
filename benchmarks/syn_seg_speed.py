"""Time of SynSeg with five views at real size.

    python benchmarks/syn_seg_speed.py [--repeats N]

Random weights, fp32, 2 threads, cached text embeddings, a 640x480 image, including labels at its size. The targets are
2 s for 21 words, 2.5 times as long for 171 words, and 1.3 times with class selection, on an idle machine on which a
2048x2048 matrix product runs at 190 GFLOP/s (benchmarks/cost_aggregation_speed.py). "scaled" is the time in units of
such a product, which is measured right before and after each row.
"""

import argparse
import resource

import numpy as np
import torch
from machine import fastest, keep, matrix_rate

import segvoc

USUAL_RATE = 190.0
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
    for count, kept in ROWS:
        words = [f"word {number}" for number in range(count)]
        model.encode_words(segvoc.Vocabulary(words))

        def work(words: list[str] = words, kept: int | None = kept) -> None:
            model.segment(image, words, window="official", keep_classes=kept)

        before = matrix_rate()
        seconds = fastest(work, repeats)
        rate = (before + matrix_rate()) / 2
        scaled = seconds * rate / USUAL_RATE
        first = rows[0]["scaled"] if rows else scaled
        assert isinstance(first, float)
        rows.append(
            {
                "words": count,
                "kept": kept or "-",
                "seconds": seconds,
                "gflops": rate,
                "scaled": scaled,
                "times 21 words": scaled / first,
                "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            }
        )
    keep("syn_seg_speed", rows)


if __name__ == "__main__":
    main()

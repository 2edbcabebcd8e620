"""Time of one PCA-Seg forward at real size, beside the official code's.

    python benchmarks/pca_seg_speed.py [--model pca-seg-b] [--words 20 59 171] [--repeats N]

Random weights, fp32, one 384 px square, class pooling (2, 2), text embeddings cached, 2 threads. The official times
(specs of the release: 3.05, 5.90 and 18.4 s for 20, 59 and 171 words) were taken on an idle machine of the same kind on
which a matrix product ran at 190 GFLOP/s; "ratio" scales by the rate that was measured here around each row.
"""

import argparse

import torch
from machine import fastest, keep, matrix_rate

import segvoc

OFFICIAL_SECONDS = {20: 3.05, 59: 5.90, 171: 18.4}
OFFICIAL_RATE = 190.0


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pca-seg-b")
    parser.add_argument("--words", type=int, nargs="+", default=[20, 59, 171])
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    model = segvoc.load(arguments.model, weights="random")
    size = model.protocols["single"].size
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 255
    rows: list[dict[str, object]] = []
    for count in arguments.words:
        text = model.encode_words(segvoc.Vocabulary([f"word {number}" for number in range(count)]))

        def forward(text: torch.Tensor = text) -> None:
            with torch.inference_mode():
                model.network(image, text, chunk=model.class_chunk)

        before = matrix_rate()
        seconds = fastest(forward, arguments.repeats)
        rate = (before + matrix_rate()) / 2
        official = OFFICIAL_SECONDS.get(count) if arguments.model == "pca-seg-b" else None
        ratio = official * OFFICIAL_RATE / (seconds * rate) if official else "-"
        rows.append(
            {"words": count, "seconds": seconds, "gflops": rate, "official_seconds": official or "-", "ratio": ratio}
        )
    keep(f"{arguments.model}_speed", rows)


if __name__ == "__main__":
    main()

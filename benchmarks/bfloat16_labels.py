"""Labels in bfloat16 beside labels in float32: the share of equal pixels, and how close the others were.

    python -m benchmarks.bfloat16_labels PHOTO_OR_FOLDER... [--number 50] [--words-file FILE]

`tiny` labels the photographs, evenly taken from each folder, in both precisions. The margin of a pixel whose label
differs is the difference of the probabilities, in float32, of its two labels.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import segvoc
from benchmarks.machine import keep
from segvoc.imaging.image_formats import IMAGE_SUFFIXES
from segvoc.models.network_segmenter import NetworkSegmenter

WORDS = Path(__file__).parent / "coco_panoptic_words.txt"


def chosen(places: Sequence[Path], number: int) -> list[Path]:
    """About `number` photographs, as many from each place."""
    photos: list[Path] = []
    for place in places:
        files = sorted(p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES) if place.is_dir() else [place]
        share = max(1, number // len(places))
        photos += [files[round(at)] for at in np.linspace(0, len(files) - 1, min(share, len(files)))]
    return photos


def compared(
    exact: NetworkSegmenter, rough: NetworkSegmenter, photo: Path, words: Sequence[str]
) -> tuple[float, np.ndarray]:
    """The share of equal pixels, and the margins of the others."""
    expected = exact.segment(photo, words, return_probabilities=True)
    labels = rough.segment(photo, words).labels
    other = np.nonzero(labels != expected.labels)
    assert expected.probabilities is not None
    margins = expected.confidence[other] - expected.probabilities[labels[other], *other]
    return float((labels == expected.labels).mean()), margins


def main() -> None:
    """Compare, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", type=Path, nargs="+")
    parser.add_argument("--number", type=int, default=50, help="photographs in all")
    parser.add_argument("--words-file", type=Path, default=WORDS)
    options = parser.parse_args()
    words = options.words_file.read_text(encoding="utf-8").splitlines()
    exact, rough = segvoc.load("tiny", dtype="float32"), segvoc.load("tiny", dtype="bfloat16")
    shares, margins = [], []
    for photo in chosen(options.places, options.number):
        share, apart = compared(exact, rough, photo, words)
        shares.append(share)
        margins.append(apart)
    every = np.concatenate(margins)
    row = {
        "photographs": len(shares),
        "words": len(words),
        "equal": float(np.mean(shares)),
        "least_equal": min(shares),
        "median_margin": float(np.median(every)) if every.size else 0.0,
        "margin_of_99_percent": float(np.quantile(every, 0.99)) if every.size else 0.0,
    }
    keep("bfloat16_labels", [row])


if __name__ == "__main__":
    main()

"""Effects of class selection on `tiny`: agreement with the full run, mIoU, number of kept classes and time.

    python -m benchmarks.class_selection [--photos ../shared/data/photos] [--limit N]

The photographs are those of coco-panoptic; tiny was trained on them, so only the differences of its scores matter. The
words are its 133 classes or, as "1,000 more", these and the names of ImageNet's classes, most of which aren't in any
photograph. "changed": pixels whose label differs from that with all words [%]; "worst": the same for the photograph
with the most; "kept": words kept per photograph, on average and at most. tiny votes with the sum of its costs.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor

import segvoc
from benchmarks.machine import keep
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.selection_rules import KeepClasses
from tools.tiny.photos import Photo, read_photos
from tools.tiny.scoring import counts_of_labels, label_map, scores

COCO_WORDS = Path(__file__).parent / "coco_panoptic_words.txt"
ASKED: dict[str, tuple[KeepClasses, ...]] = {
    "133": ("all", 16, 24, 32, 48, 64, "auto"),
    "1,000 more": ("all", 16, 32, 64, "auto"),
}


@dataclass
class Tally:
    """Results of one selection over all photographs."""

    changed: list[float] = field(default_factory=list)
    """Pixels of each photograph whose label differs from the full run [%]."""
    pixels: list[int] = field(default_factory=list)
    """Pixels of each photograph."""
    kept: list[int] = field(default_factory=list)
    """Words kept in each photograph."""
    seconds: list[float] = field(default_factory=list)
    """Time for each photograph [s]."""
    counts: list[Tensor] = field(default_factory=list)
    """Pixels of each word in each photograph: hits, in truth, and guessed."""

    def add(self, result: segvoc.Segmentation, everyone: segvoc.Segmentation, truth: Tensor) -> None:
        """Add a photograph."""
        self.changed.append(100 * float((result.labels != everyone.labels).mean()))
        self.pixels.append(result.labels.size)
        self.kept.append(int(result.selected.sum()))
        self.seconds.append(result.seconds)
        labels = torch.from_numpy(result.labels.astype(np.int64))
        self.counts.append(counts_of_labels(labels, truth, len(result.words)))

    def row(self, words: str, asked: KeepClasses) -> dict[str, object]:
        """The row of the table."""
        return {
            "words": words,
            "keep_classes": asked,
            "changed": round(float(np.average(self.changed, weights=self.pixels)), 4),
            "worst": round(max(self.changed), 3),
            "miou": round(scores(torch.stack(self.counts)).miou, 2),
            "kept": round(float(np.mean(self.kept)), 1),
            "kept_most": max(self.kept),
            "seconds": round(float(np.median(self.seconds)), 3),
        }


def measure(model: NetworkSegmenter, photos: Sequence[Photo], words: list[str], name: str) -> list[dict[str, object]]:
    """A row for each selection; they alternate on each photograph, so that other load affects all of them alike."""
    tallies: dict[KeepClasses, Tally] = {asked: Tally() for asked in ASKED[name]}
    model.segment(photos[0].image_file, words)
    for photo in photos:
        truth = label_map(photo, words)
        results = {asked: model.segment(photo.image_file, words, keep_classes=asked) for asked in tallies}
        for asked, tally in tallies.items():
            tally.add(results[asked], results["all"], truth)
    return [tally.row(name, asked) for asked, tally in tallies.items()]


def imagenet_names(besides: Sequence[str]) -> list[str]:
    """The first name of each ImageNet class, without those in `besides`."""
    info = ImageNetInfo()
    names = [str(info.index_to_description(index)).split(", ")[0] for index in range(1000)]
    return list(dict.fromkeys(name for name in names if name not in besides))


def main() -> None:
    """Measure, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    segvoc.keep_freed_memory()  # as the command line does, which the figures are meant for
    photos = read_photos(arguments.photos, "coco-panoptic")[: arguments.limit]
    words = COCO_WORDS.read_text(encoding="utf-8").splitlines()
    model = segvoc.load("tiny", device="cpu", dtype="float32")
    rows = measure(model, photos, words, "133")
    rows += measure(model, photos, [*words, *imagenet_names(words)], "1,000 more")
    keep("class_selection", [{**row, "photographs": len(photos)} for row in rows])


if __name__ == "__main__":
    main()

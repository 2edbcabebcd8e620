"""What 5 and 20 labeled photographs teach tiny, beside its zero-shot scores; time, memory and size of the file.

    python -m benchmarks.teach [--sets car-parts indoor clothing pantry coco-panoptic] [--held-out 40]

Photographs are those of `../shared/data/photos`, on many of which tiny itself was trained: zero-shot scores of foods
and of COCO are much higher here than on photographs that it has never seen. Scores are of whole photographs that
nothing was taught on, with the words of the set. "coco-panoptic, 50 words" teaches the 50 commonest words alone, and
"untaught" is the mean IoU of the others, which must not lose by it. Runs on two threads.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import segvoc
from benchmarks.machine import update
from segvoc.data.labeled_images import LabeledImages
from segvoc.evaluation.metrics import Confusion
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.segmenter import Segmenter
from segvoc.runtime import process_settings
from segvoc.vocabulary import Vocabulary

COUNTS = (5, 20)
THREADS = 2
WITH_BACKGROUND = ("car-parts",)
"""Sets whose background is scored as a word."""
BINS = 15
"""Of the expected calibration error."""


def with_words(images: LabeledImages, words: Sequence[str]) -> LabeledImages:
    """The same photographs, in which only pixels of some words are labeled."""
    table = tuple(words.index(word) if word in words else UNLABELED for word in images.vocabulary.words)
    changed = tuple(replace(image, new_labels=table) for image in images.images)
    return replace(images, vocabulary=Vocabulary(words), images=changed)


def scores(model: Segmenter, images: LabeledImages) -> tuple[np.ndarray, float, float]:
    """IoU of each word and pixel accuracy [%], and the expected calibration error in [0, 1]."""
    confusions, gaps, pixels = list[Confusion](), np.zeros(BINS), 0
    for index in range(len(images)):
        image, labels = images.read(index)
        result, labeled = model.segment(image, images.vocabulary), labels != UNLABELED
        confusions.append(Confusion.count(labels, result.labels, len(images.vocabulary)))
        confidence, is_right = result.confidence[labeled], result.labels[labeled] == labels[labeled]
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        gaps += np.bincount(bins, confidence - is_right, BINS)
        pixels += labeled.sum()
    found = Confusion.total(confusions, len(images.vocabulary)).scores()
    return found.iou, found.pixel_accuracy, np.abs(gaps).sum() / max(pixels, 1)


def rows_of(model: Segmenter, images: LabeledImages, held_out: int, seed: int) -> list[dict[str, object]]:
    """The rows of one set."""
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    words = [word for word in images.vocabulary.words if word != "background" or images.name in WITH_BACKGROUND]
    images = with_words(images, words)
    test = images.only(sorted(order[max(COUNTS) :][:held_out]))
    iou, accuracy, error = scores(model, test)
    base: dict[str, object] = {"set": images.name, "words": len(words), "held_out": len(test), "seed": seed}
    rows = [row(base, 0, iou, accuracy, error)]
    rows += [taught_row(base, model, images.only(sorted(order[:count])), test) for count in COUNTS]
    if images.name == "coco-panoptic":
        shown = images.only(sorted(order[: max(COUNTS)]))
        common = commonest(shown, 50)
        others = [index for index, word in enumerate(words) if word not in common]
        base = base | {"set": f"{images.name}, 50 words"}
        rows.append(row(base, 0, iou, accuracy, error) | {"untaught": round(float(np.nanmean(iou[others])), 1)})
        rows.append(taught_row(base, model, with_words(shown, common), test, others))
    return rows


def taught_row(
    base: dict[str, object],
    model: Segmenter,
    examples: LabeledImages,
    test: LabeledImages,
    others: Sequence[int] = (),
) -> dict[str, object]:
    """The row of words taught by some photographs."""
    start = time.perf_counter()
    taught = segvoc.teach(model, examples)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        taught.save(file := Path(folder) / "taught")
        size = file.stat().st_size
    return row(base, len(examples), *(found := scores(model.with_taught(taught), test))) | {
        "untaught": round(float(np.nanmean(found[0][list(others)])), 1) if others else None,
        "taught_words": len(taught.words),
        "keep_text": len(taught.record.words) - len(taught.words),
        "seconds": round(seconds, 1),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "file_kb": round(size / 1e3),
    }


def row(base: dict[str, object], count: int, iou: np.ndarray, accuracy: float, error: float) -> dict[str, object]:
    """A row with scores; what isn't measured is None."""
    unmeasured = dict.fromkeys(("untaught", "taught_words", "keep_text", "seconds", "peak_gb", "file_kb"))
    return {
        **base,
        "photographs": count,
        "miou": round(float(np.nanmean(iou)), 1),
        "accuracy": round(float(accuracy), 1),
        "calibration_error": round(float(error), 3),
        **unmeasured,
    }


def commonest(images: LabeledImages, count: int) -> list[str]:
    """The words that most photographs show."""
    shown = np.zeros(len(images.vocabulary), np.int64)
    for index in range(len(images)):
        labels = np.unique(images.read(index).labels)
        shown[labels[labels != UNLABELED]] += 1
    return [images.vocabulary.words[index] for index in np.argsort(-shown, kind="stable")[:count]]


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sets = ["car-parts", "indoor", "clothing", "pantry", "coco-panoptic"]
    parser.add_argument("--photos", type=Path, default=Path("../shared/data/photos"))
    parser.add_argument("--sets", nargs="+", default=sets)
    parser.add_argument("--held-out", type=int, default=40, help="photographs to score")
    parser.add_argument("--seed", type=int, default=0, help="draws the photographs")
    chosen = parser.parse_args()
    process_settings.for_own_process(THREADS)
    model = segvoc.load("tiny", device="cpu", dtype="float32")
    for name in chosen.sets:
        folder = chosen.photos / name
        images = LabeledImages.from_folders(folder / "images", folder / "labels", folder / "classes.json")
        rows = rows_of(model, replace(images, name=name), chosen.held_out, chosen.seed)
        print(*rows, sep="\n", flush=True)
        update("teach", rows, ["set", "photographs", "seed"], threads=str(THREADS))


if __name__ == "__main__":
    main()

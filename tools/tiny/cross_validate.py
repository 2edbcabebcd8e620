"""Cross-validate tiny over the photographs of coco-panoptic, words seen in training and not.

    python -m tools.tiny.cross_validate --photos ../shared/data/photos

Protocol 1: five photo folds (fixed seed); trained on the other panoptic photographs, coco-things and clothing; every
pixel gets one of the 133 words at full picture size. Protocol 2: for each of three disjoint sets of 20 words, the same
five folds without a labelled pixel of these words in any data set; their IoU among all 133 words, and among the 20.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from tools.tiny.build import (
    build_image_tower,
    build_text_tower,
    calibrated,
    centred_classes,
    cost_sum,
    embed,
    folds_of,
    logits,
    mean_probabilities,
    read_features,
    words_of,
)
from tools.tiny.features import PhotoFeatures
from tools.tiny.photos import read_photos
from tools.tiny.scoring import Scores, confusion, label_map, scores
from tools.tiny.training import fit_projections

BENCHMARK = "coco-panoptic"
UNSEEN_WORDS = 20
UNSEEN_SETS = 3


class CrossValidation:
    """Features of all photographs, and towers fitted without one fold of them."""

    def __init__(self, root: Path, cache: Path, work: Path, seed: int) -> None:
        """Compute or read the features."""
        self.seed = seed
        self.words = words_of(root)
        text = build_text_tower(work / "tokenizer.json")
        self.text = embed(text, self.words)
        self.tower = build_image_tower(text)
        self.features = read_features(self.tower, root, self.words, cache)
        self.class_embeddings = self.tower.class_embeddings.clone()
        self.probabilities = mean_probabilities(self.tower, self.features)
        panoptic = read_photos(root, BENCHMARK)
        self.names = [word for word in panoptic[0].words if word is not None]
        self.columns = [self.words.index(name) for name in self.names]
        self.folds = folds_of([photo.key for photo in panoptic], seed)
        self.truth = {photo.key: label_map(photo, self.names) for photo in panoptic}

    def fit_without(self, fold: set[str], unseen: Sequence[str] = ()) -> None:
        """Train on every photograph outside `fold`, the words `unseen` unlabelled."""
        chosen = [i for i, photo in enumerate(self.features) if photo.photo.key not in fold]
        training = [self.features[i] for i in chosen]
        self.tower.class_embeddings.copy_(centred_classes(self.class_embeddings, self.probabilities[chosen]))
        fit_projections(self.tower, training, self.words, self.text, unseen)
        self.skip = cost_sum(self.text[[word not in unseen for word in self.words]])

    def held_out(self, fold: set[str]) -> list[PhotoFeatures]:
        """The photographs of `fold`, not mirrored."""
        return [photo for photo in self.features if photo.photo.key in fold and not photo.mirrored]

    @torch.inference_mode()
    def confusion(self, fold: set[str], only: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Confusion over `fold` among all words, and among the words `only` (by index) where they are the truth."""
        kept = list(range(len(self.names))) if only is None else list(only)
        everything = torch.zeros(len(self.names), len(self.names), dtype=torch.long)
        among = torch.zeros(len(kept), len(kept), dtype=torch.long)
        position = torch.full((len(self.names) + 1,), -1)
        position[kept] = torch.arange(len(kept))
        for photo in self.held_out(fold):
            values = logits(self.tower, self.skip, photo, self.text[self.columns])
            truth = self.truth[photo.photo.key]
            everything += confusion(values, truth)
            if only is not None:
                among += confusion(values[kept], position[truth])
        return everything, among

    def seen(self) -> tuple[list[Scores], Scores, tuple[float, float]]:
        """Protocol 1: scores of each fold and of all together, and the calibration on the folds' held-out cells."""
        each: list[Scores] = []
        total = torch.zeros(len(self.names), len(self.names), dtype=torch.long)
        fitted: list[tuple[float, float]] = []
        for fold in self.folds:
            self.fit_without(fold)
            counts, _ = self.confusion(fold)
            each.append(scores(counts))
            total += counts
            held_out = self.held_out(fold)
            fitted.append(calibrated(self.tower, self.skip, held_out, self.text, self.columns, self.seed))
        scale, bias = (statistics.median(values) for values in zip(*fitted, strict=True))
        return each, scores(total), (scale, bias)

    def unseen(self) -> list[tuple[list[str], Scores, Scores]]:
        """Protocol 2: for each set of words, scores among all 133 words and among these words alone."""
        occurring = sorted({int(i) for truth in self.truth.values() for i in truth.unique() if i >= 0})
        order = torch.randperm(len(occurring), generator=torch.Generator().manual_seed(self.seed))
        results: list[tuple[list[str], Scores, Scores]] = []
        for part in order.split(UNSEEN_WORDS)[:UNSEEN_SETS]:
            chosen = [occurring[i] for i in part.tolist()]
            everything = torch.zeros(len(self.names), len(self.names), dtype=torch.long)
            among = torch.zeros(len(chosen), len(chosen), dtype=torch.long)
            for fold in self.folds:
                self.fit_without(fold, [self.names[i] for i in chosen])
                for total, counts in zip((everything, among), self.confusion(fold, chosen), strict=True):
                    total += counts
            results.append(([self.names[i] for i in chosen], scores(everything, chosen), scores(among)))
            names, among_all, alone = results[-1]
            print(f"  {among_all}   among themselves: {alone}   {', '.join(names)}", flush=True)
        return results


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def report(root: Path, cache: Path, work: Path, seed: int) -> dict[str, object]:
    """Run both protocols, print them, and return the figures of the record."""
    started = time.monotonic()
    run = CrossValidation(root, cache, work, seed)
    print(f"features of {len(run.features)} pictures: {time.monotonic() - started:.0f} s", flush=True)
    each, pooled, (scale, bias) = run.seen()
    for number, fold in enumerate(each, start=1):
        print(f"fold {number}: {fold}")
    print(f"pooled: {pooled}")
    print(f"folds: mIoU {_spread([s.miou for s in each])}  pixel accuracy {_spread([s.accuracy for s in each])}")
    print(f"calibration: scale {scale:.3f}, bias {bias:.3f}")
    print("words without labels, five folds pooled:", flush=True)
    unseen = run.unseen()
    among_all, alone = [s.miou for _, s, _ in unseen], [s.miou for _, _, s in unseen]
    print(f"unseen mIoU among all words {_spread(among_all)}, among themselves {_spread(alone)}")
    print(f"{time.monotonic() - started:.0f} s")
    return {
        "miou_mean_of_folds": _spread([s.miou for s in each]),
        "pixel_accuracy_mean_of_folds": _spread([s.accuracy for s in each]),
        "miou_folds_pooled": round(pooled.miou, 2),
        "pixel_accuracy_folds_pooled": round(pooled.accuracy, 2),
        "unseen_miou_among_unseen_words": _spread(alone),
        "unseen_miou_among_all_words": _spread(among_all),
        "scale": scale,
        "bias": bias,
    }


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--cache", type=Path, help="keep the trunk's features here (1 GB); default: for this run only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    with TemporaryDirectory() as work:
        figures = report(arguments.photos, arguments.cache or Path(work), Path(work), arguments.seed)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

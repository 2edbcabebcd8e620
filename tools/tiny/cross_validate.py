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

import torch
from torch import Tensor

from tools.tiny.build import folds_of, read_material
from tools.tiny.photos import read_photos
from tools.tiny.scoring import Scores, confusion, label_map, scores
from tools.tiny.trained import Material, Model, models

BENCHMARK = "coco-panoptic"
UNSEEN_WORDS = 20
UNSEEN_SETS = 3


class CrossValidation:
    """Models trained without one fold of the photographs each, and what they say of it."""

    def __init__(self, root: Path, material: Material, seed: int) -> None:
        """Read what is true."""
        self.material, self.seed = material, seed
        self.keys = [photo.key for photo in material.features.photos]
        panoptic = read_photos(root, BENCHMARK)
        self.names = [word for word in panoptic[0].words if word is not None]
        device = material.features.device
        self.columns = torch.tensor([material.words.index(name) for name in self.names], device=device)
        self.folds = folds_of([photo.key for photo in panoptic], seed)
        self.truth = {photo.key: label_map(photo, self.names).to(device) for photo in panoptic}

    def without(self, unseen: Sequence[str] = ()) -> list[Model]:
        """For each fold a model of every photograph outside it, the words `unseen` unlabelled."""
        device = self.material.features.device
        photos = [torch.tensor([key not in fold for key in self.keys], device=device) for fold in self.folds]
        known = [self.material.known(unseen)] * len(photos)
        return models(self.material, photos, known, [100 * self.seed + number for number in range(len(photos))])

    def held_out(self, fold: set[str]) -> list[int]:
        """The views of the photographs of `fold`, whole and not mirrored."""
        return [2 * number for number, key in enumerate(self.keys) if key in fold]

    def confusion(
        self, model: Model, fold: set[str], only: Sequence[int] | None = None, summed: bool = False
    ) -> Tensor:
        """Confusion over `fold` among all words, or among the words `only` (by index) where they are the truth."""
        kept = torch.tensor(range(len(self.names)) if only is None else only, device=self.columns.device)
        counts = torch.zeros(len(kept), len(kept), dtype=torch.long, device=kept.device)
        position = torch.full((len(self.names) + 1,), -1, device=kept.device)
        position[kept] = torch.arange(len(kept), device=kept.device)
        for view in self.held_out(fold):
            logits = (model.summed if summed else model.logits)(view, self.columns[kept])
            counts += confusion(logits, position[self.truth[self.keys[view // 2]]])
        return counts.cpu()

    def seen(self) -> tuple[list[Scores], list[Scores], Scores, tuple[float, float]]:
        """Protocol 1: scores of each fold, and of the sum alone; of all folds; the calibration on held-out cells."""
        each, sums, fitted = [], [], []
        total = torch.zeros(len(self.names), len(self.names), dtype=torch.long)
        for fold, model in zip(self.folds, self.without(), strict=True):
            counts = self.confusion(model, fold)
            each.append(scores(counts))
            sums.append(scores(self.confusion(model, fold, summed=True)))
            total += counts
            fitted.append(model.calibration(self.held_out(fold), self.columns, self.seed))
        scale, bias = (statistics.median(values) for values in zip(*fitted, strict=True))
        return each, sums, scores(total), (scale, bias)

    def unseen(self) -> list[tuple[Scores, Scores]]:
        """Protocol 2: for each set of words, scores among all 133 words and among these words alone."""
        occurring = sorted({int(i) for truth in self.truth.values() for i in truth.unique() if i >= 0})
        order = torch.randperm(len(occurring), generator=torch.Generator().manual_seed(self.seed))
        results: list[tuple[Scores, Scores]] = []
        for part in order.split(UNSEEN_WORDS)[:UNSEEN_SETS]:
            chosen = [occurring[i] for i in part.tolist()]
            names = [self.names[i] for i in chosen]
            pairs = list(zip(self.without(names), self.folds, strict=True))
            for summed in (True, False):
                everything = torch.stack([self.confusion(*pair, summed=summed) for pair in pairs]).sum(dim=0)
                among = torch.stack([self.confusion(*pair, chosen, summed) for pair in pairs]).sum(dim=0)
                found = scores(everything, chosen), scores(among)
                print(f"  {'sum:' if summed else '    '} {found[0]}   among themselves: {found[1]}", flush=True)
            print(f"       {', '.join(names)}")
            results.append(found)
        return results


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def report(root: Path, material: Material, seed: int) -> dict[str, object]:
    """Run both protocols, print them, and return the figures of the record."""
    started = time.monotonic()
    run = CrossValidation(root, material, seed)
    each, sums, pooled, (scale, bias) = run.seen()
    for number, (fold, summed) in enumerate(zip(each, sums, strict=True), start=1):
        print(f"fold {number}: {fold}   (sum of the costs alone: {summed})")
    print(f"pooled: {pooled}")
    for title, found in (("sum alone", sums), ("folds", each)):
        print(
            f"{title}: mIoU {_spread([s.miou for s in found])}  pixel accuracy {_spread([s.accuracy for s in found])}"
        )
    print(f"calibration: scale {scale:.3f}, bias {bias:.3f}")
    print("words without labels, five folds pooled:", flush=True)
    unseen = run.unseen()
    among_all, alone = [s.miou for s, _ in unseen], [s.miou for _, s in unseen]
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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    parser.add_argument("--shipped-towers", action="store_true", help="without the two packages of the towers")
    arguments = parser.parse_args()
    material, _ = read_material(arguments.photos, arguments.shipped_towers)
    figures = report(arguments.photos, material, arguments.seed)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

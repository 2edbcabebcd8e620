"""Cross-validate tiny over photographs and words of all data sets.

    python -m tools.tiny.cross_validate --photos ../shared/data/photos --cache build/tiny

The photographs are dealt into three folds; copies of a COCO photograph and the frames of one building stay together.
The model of a fold has seen neither the fold's photographs nor a labeled pixel of the fold's words, a part of the
words of each data set. Every pixel of a photograph gets one of its data set's words at the photograph's size. Errors
are standard errors over photographs.
"""

import json
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from segvoc.models.decisions import SURROUNDINGS
from tools.tiny.features import TrainingData
from tools.tiny.model import SHIPPED, Model, Stages, train
from tools.tiny.photos import DATA_SETS, MORE, Folders, Photo, command
from tools.tiny.scoring import calibrate, counts, label_map, scores
from tools.tiny.towers import read_training_data

FOLDS = 3

BENCHMARKS = ("coco-panoptic", "voc", "pantry", "caltech", "clothing")
"""Data sets that are scored."""

UNSEEN = {"coco-panoptic": 0.15, "caltech": 0.3, "pantry": 0.15, "clothing": 0.15}
"""Share of a data set's words that the model of a fold has not learned."""

CALIBRATION = ("voc", "caltech")
"""Data sets that the logits are calibrated on: few words are asked, and most of an image is none of them.

Where one of 133 words covers almost every pixel, the best word is right more often than its logit says elsewhere. The
words that stand for the background are asked too, and only pixels where one of the data set's own words wins count:
there the threshold decides."""

TOGETHER = "caltech"
"""Unseen words of this data set are asked together with all of coco-panoptic's."""


def folds_of(photos: Sequence[Photo], seed: int) -> list[int | None]:
    """The fold of each photograph; None: always learned from, as those of `MORE` that are in no other data set."""
    groups = sorted({photo.group for photo in photos if photo.data_set not in MORE})
    random.Random(seed).shuffle(groups)
    number = {group: place % FOLDS for place, group in enumerate(groups)}
    return [number.get(photo.group) for photo in photos]


def unseen_words(photos: Sequence[Photo], fold: int, seed: int) -> dict[str, list[str]]:
    """Words of each data set that the model of a fold doesn't learn; no word is in two folds."""
    chosen: dict[str, list[str]] = {}
    common = set(_words(photos, DATA_SETS[0]))
    for data_set, share in UNSEEN.items():
        words = [w for w in _words(photos, data_set) if data_set == DATA_SETS[0] or w not in common]
        random.Random(f"{seed} {data_set}").shuffle(words)
        count = round(share * len(words))
        chosen[data_set] = words[fold * count : (fold + 1) * count]
    return chosen


def _words(photos: Sequence[Photo], data_set: str) -> list[str]:
    first = next(photo for photo in photos if photo.data_set == data_set)
    return [word for word in first.words if word is not None]


class Fold:
    """One fold of the photographs and words, and what models that have not seen them say of it."""

    def __init__(self, data: TrainingData, number: int, seed: int) -> None:
        """Deal."""
        photos = data.features.photos
        self.data, self.number, self.seed = data, number, seed
        folds = folds_of(photos, seed)
        self.held_out = [place for place, fold in enumerate(folds) if fold == number]
        self.may_learn = torch.tensor([fold != number for fold in folds], device=data.text.device)
        self.unseen = unseen_words(photos, number, seed)
        hidden = [word for words in self.unseen.values() for word in words]
        self.known = data.known(hidden)

    def scored(self) -> dict[str, Any]:
        """Train; then "pixels" (N 3 K) of the held-out photographs of each benchmark, and "pairs" of `CALIBRATION`.

        Benchmarks: each data set with its own words, of which only those that were learned count; and "... unseen", of
        which only the others count.
        """
        data, found = self.data, {}
        model = train(data, self.may_learn, self.known, SHIPPED, seed=100 * self.seed + self.number)
        place = {word: number for number, word in enumerate(data.words)}
        pairs: list[Tensor] = []
        for data_set in BENCHMARKS:
            words = _words(data.features.photos, data_set)
            learned = torch.tensor([word not in self.unseen.get(data_set, ()) for word in words])
            own = [i for i in self.held_out if data.features.photos[i].data_set == data_set]
            columns = torch.tensor([place[word] for word in words])
            rows: list[Tensor] = []
            for index in tqdm(own, desc=data_set):
                logits = model.logits(index, columns.to(data.text.device)).cpu()
                rows.append(counts(logits, label_map(data.features.photos[index], words)))
                if data_set in CALIBRATION:
                    others = torch.tensor([place[word] for word in SURROUNDINGS if word not in words])
                    both = torch.cat([columns, others])
                    logits = model.logits(index, both.to(data.text.device)).cpu()
                    pairs.append(_winners(data, index, logits, both, len(columns)))
            pixels = torch.stack(rows)
            found[data_set] = pixels * learned
            if data_set in self.unseen and data_set != TOGETHER:
                found[f"{data_set} unseen"] = pixels * ~learned
        found[f"{TOGETHER} unseen"] = self._together(model, place)
        return {"pixels": found, "pairs": torch.cat(pairs)}

    def _together(self, model: Model, place: Mapping[str, int]) -> Tensor:
        """Counts of all photographs of this fold's unseen words of `TOGETHER` among coco-panoptic's words as well."""
        data, words = self.data, self.unseen[TOGETHER]
        common, others = (_words(data.features.photos, name) for name in (DATA_SETS[0], TOGETHER))
        asked = [*common, *words]
        columns = torch.tensor([place[word] for word in asked], device=data.text.device)
        only = torch.tensor([word in words for word in asked])
        rows = []
        for index, photo in enumerate(data.features.photos):
            if photo.data_set == TOGETHER:
                truth = label_map(photo, asked)
                if torch.isin(truth.unique(), only.nonzero()[:, 0]).any():
                    rows.append(counts(model.logits(index, columns).cpu(), truth) * only)
        # a column for each word of any fold
        pixels = torch.zeros(len(rows), 3, len(common) + len(others), dtype=torch.long)
        pixels[:, :, [len(common) + others.index(word) for word in words]] = torch.stack(rows)[:, :, len(common) :]
        return pixels


def _winners(data: TrainingData, index: int, logits: Tensor, columns: Tensor, own: int) -> Tensor:
    """Highest logit of pixels of one view where one of the first `own` words wins, and whether it is right (N 2)."""
    labels = data.features.labels[index].long().cpu()
    full = F.interpolate(logits[None], size=tuple(labels.shape), mode="bilinear")[0]
    highest, word = full[:, 2::8, 2::8].flatten(1).max(dim=0)
    truth = labels[2::8, 2::8].flatten()
    labeled = (truth <= len(data.words)) & (word < own).flatten()
    right = columns[word] == truth
    return torch.stack([highest[labeled], right[labeled].float()], dim=1)


def report(data: TrainingData, folds: Sequence[int], seed: int) -> dict[str, Any]:
    """Train and score the models of some folds, print a table, and return the figures of the record."""
    started = time.monotonic()
    found: dict[str, list[Tensor]] = {}
    fitted: list[tuple[float, float]] = []
    stages = Stages(data.cache)
    for number in folds:
        fold = Fold(data, number, seed)
        depends_on = ([photo.key for photo in data.features.photos], seed, number, SHIPPED)
        stored = stages.computed("scores", depends_on, lambda _, f=fold: f.scored())
        for benchmark, rows in stored["pixels"].items():
            found.setdefault(benchmark, []).append(rows)
        fitted.append(calibrate(*stored["pairs"].unbind(dim=1)))
    figures: dict[str, dict[str, Any]] = {"held_out": {}, "unseen_words": {}}
    print(f"{'':22} mIoU / pixel accuracy")
    for benchmark, several in found.items():
        score = scores(torch.cat(several))
        print(f"{benchmark:22} {score}")
        kind = "unseen_words" if benchmark.endswith(" unseen") else "held_out"
        figures[kind][benchmark.removesuffix(" unseen")] = {
            name: round(value, 2) for name, value in score._asdict().items()
        }
    scale, bias = (statistics.median(values) for values in zip(*fitted, strict=True))
    print(f"calibration: scale {scale:.3f}, bias {bias:.3f}; {time.monotonic() - started:.0f} s")
    protocol = (
        f"{len(folds)} of {FOLDS} folds of the photographs; the model of a fold has seen neither its photographs nor "
        "labels of its unseen words; every pixel gets one of the data set's words, unseen words of caltech are asked "
        "together with the 133 of coco-panoptic; standard errors over photographs"
    )
    return {"protocol": protocol, **figures, "scale": scale, "bias": bias}


def main() -> None:
    """Parse the command line and run."""
    parser = command(__doc__, Path("build/tiny"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), help="only some of the folds")
    parser.add_argument("--out", type=Path, help="write the figures to this JSON file")
    arguments = parser.parse_args()
    data, _ = read_training_data(Folders.of(arguments), arguments.cache)
    figures = report(data, arguments.folds, arguments.seed)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

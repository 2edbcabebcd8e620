"""Confusion matrices at full picture size, mIoU and pixel accuracy, and the calibration of logits."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tools.tiny.photos import Photo

ABSENT = -1


def label_map(photo: Photo, words: Sequence[str]) -> Tensor:
    """Ground truth (H W) as index into `words`; pixels of other words, of none, or unlabelled are -1."""
    index = {word: i for i, word in enumerate(words)}
    table = torch.full((256,), ABSENT)
    for i, word in enumerate(photo.words):
        if word is not None:
            table[i] = index.get(word, ABSENT)
    return table[torch.from_numpy(photo.labels().copy()).long()]


def confusion(logits: Tensor, truth: Tensor) -> Tensor:
    """Counts (T T), row = truth, of the argmax of `logits` (T h w), upsampled to the picture's size."""
    classes = logits.shape[0]
    full = functional.interpolate(logits[None], size=tuple(truth.shape), mode="bilinear", align_corners=False)[0]
    return confusion_of_labels(full.flatten(1).T.contiguous().argmax(dim=1).view(truth.shape), truth, classes)


def confusion_of_labels(labels: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Counts (T T), row = truth, of a label map (H W)."""
    labelled = truth != ABSENT
    counts = torch.bincount(truth[labelled] * classes + labels[labelled], minlength=classes * classes)
    return counts.view(classes, classes)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Mean IoU over the classes that occur in the ground truth, and pixel accuracy, both in percent."""

    miou: float
    accuracy: float
    classes: int

    def __str__(self) -> str:
        """One cell of a report."""
        return f"mIoU {self.miou:5.2f}  pixel accuracy {self.accuracy:5.2f}  ({self.classes} classes)"


def scores(counts: Tensor, only: Sequence[int] | None = None) -> Scores:
    """Scores of a confusion matrix; `only`: the classes to average and whose pixels to count (None: all)."""
    hit, truth, predicted = counts.diag().double(), counts.sum(1).double(), counts.sum(0).double()
    chosen = truth > 0
    if only is not None:
        wanted = torch.zeros_like(chosen)
        wanted[list(only)] = True
        chosen &= wanted
    iou = hit / (truth + predicted - hit).clamp(min=1)
    return Scores(
        miou=100 * iou[chosen].mean().item(),
        accuracy=100 * (hit[chosen].sum() / truth[chosen].sum()).item(),
        classes=int(chosen.sum()),
    )


def calibrate(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """Scale and bias (Platt) so that sigmoid(scale * logit + bias) is the probability of the target (both N)."""
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1.0, 0.0))
    optimiser = torch.optim.LBFGS([scale, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.binary_cross_entropy_with_logits(scale * logits.double() + bias, targets.double())
        value.backward()
        return value

    optimiser.step(loss)
    return scale.item(), bias.item()

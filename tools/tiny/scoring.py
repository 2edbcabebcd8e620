"""Hits, truths and guesses of each photograph at full size; mIoU, pixel accuracy, their errors; calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tools.tiny.photos import Photo

ABSENT = -1

RESAMPLES = 400
"""Draws of as many photographs with replacement, of which standard errors come."""


def label_map(photo: Photo, words: Sequence[str]) -> Tensor:
    """Ground truth (H W) as index into `words`; pixels of other words, of none, or unlabeled are -1."""
    index = {word: i for i, word in enumerate(words)}
    table = torch.full((256,), ABSENT)
    for i, word in enumerate(photo.words):
        if word is not None:
            table[i] = index.get(word, ABSENT)
    return table[torch.from_numpy(photo.labels().copy()).long()]


def counts(logits: Tensor, truth: Tensor) -> Tensor:
    """Pixels of each word (3 K): hits, in truth, and guessed, of the argmax of `logits` (K h w) at the photo's size."""
    full = F.interpolate(logits[None], size=tuple(truth.shape), mode="bilinear", align_corners=False)[0]
    return counts_of_labels(full.flatten(1).T.contiguous().argmax(dim=1).view(truth.shape), truth, logits.shape[0])


def counts_of_labels(guess: Tensor, truth: Tensor, words: int) -> Tensor:
    """Pixels of each word (3 K): hits, in truth, and guessed, of a label map (H W)."""
    labeled = truth != ABSENT
    guess, truth = guess[labeled], truth[labeled]
    parts = (truth[guess == truth], truth, guess)
    return torch.stack([torch.bincount(part, minlength=words) for part in parts])


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scores in percent with their standard errors over photographs."""

    miou: float
    """Mean IoU of the words that occur in the truth."""
    miou_error: float
    """Its standard error."""
    pixel_accuracy: float
    """Right pixels of those words."""
    pixel_accuracy_error: float
    """Its standard error."""

    def __str__(self) -> str:
        """One cell of a report."""
        return (
            f"{self.miou:5.2f} ± {self.miou_error:.2f} / {self.pixel_accuracy:5.2f} ± {self.pixel_accuracy_error:.2f}"
        )


def _both(pixels: Tensor) -> Tensor:
    """MIoU and pixel accuracy in percent (... 2) of counts (... 3 K)."""
    hits, truth, guesses = pixels.double().unbind(dim=-2)
    present = truth > 0
    iou = (hits / (truth + guesses - hits).clamp(min=1)) * present
    return 100 * torch.stack(
        [iou.sum(-1) / present.sum(-1).clamp(min=1), (hits * present).sum(-1) / truth.sum(-1).clamp(min=1)], dim=-1
    )


def scores(pixels: Tensor) -> Score:
    """Scores of counts of photographs (N 3 K); counts of words that don't take part in a photograph are zero."""
    return _score(_both(pixels.sum(dim=0)), _both(_resampled(pixels)))


def _resampled(pixels: Tensor) -> Tensor:
    drawn = torch.randint(len(pixels), (RESAMPLES, len(pixels)), generator=torch.Generator().manual_seed(0))
    times = torch.zeros(RESAMPLES, len(pixels), dtype=torch.double)
    times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.double))
    return (times @ pixels.double().flatten(1)).view(RESAMPLES, *pixels.shape[1:])


def _score(both: Tensor, resampled: Tensor) -> Score:
    error = resampled.std(dim=0)
    return Score(
        miou=both[0].item(),
        miou_error=error[0].item(),
        pixel_accuracy=both[1].item(),
        pixel_accuracy_error=error[1].item(),
    )


def calibrate(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """Scale and bias (Platt) so that sigmoid(scale * logit + bias) is the probability of the target (both N)."""
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1.0, 0.0))
    optimizer = torch.optim.LBFGS([scale, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = F.binary_cross_entropy_with_logits(scale * logits.double() + bias, targets.double())
        value.backward()
        return value

    optimizer.step(loss)
    return scale.item(), bias.item()

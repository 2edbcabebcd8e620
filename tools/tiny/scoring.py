"""Hits, truths and guesses of each photograph at full size; mIoU, pixel accuracy, their errors; calibration."""

from collections.abc import Sequence
from typing import NamedTuple

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


class Score(NamedTuple):
    """In percent, with standard errors over photographs: mean IoU of the words in the truth, right pixels of those."""

    miou: float
    miou_error: float
    pixel_accuracy: float
    pixel_accuracy_error: float

    def __str__(self) -> str:
        """One cell of a report."""
        accuracy = f"{self.pixel_accuracy:5.2f} ± {self.pixel_accuracy_error:.2f}"
        return f"{self.miou:5.2f} ± {self.miou_error:.2f} / {accuracy}"


def _both(pixels: Tensor) -> Tensor:
    """MIoU and pixel accuracy in percent (... 2) of counts (... 3 K)."""
    hits, truth, guesses = pixels.double().unbind(dim=-2)
    present = truth > 0
    iou = (hits / (truth + guesses - hits).clamp(min=1)) * present
    accuracy = (hits * present).sum(-1) / truth.sum(-1).clamp(min=1)
    return 100 * torch.stack([iou.sum(-1) / present.sum(-1).clamp(min=1), accuracy], dim=-1)


def scores(pixels: Tensor) -> Score:
    """Scores of counts of photographs (N 3 K); counts of words that don't take part in a photograph are zero."""
    drawn = torch.randint(len(pixels), (RESAMPLES, len(pixels)), generator=torch.Generator().manual_seed(0))
    times = torch.zeros(RESAMPLES, len(pixels), dtype=torch.double)
    times.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.double))
    resampled = (times @ pixels.double().flatten(1)).view(RESAMPLES, *pixels.shape[1:])
    both = torch.stack([_both(pixels.sum(dim=0)), _both(resampled).std(dim=0)], dim=1)
    return Score(*both.flatten().tolist())


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

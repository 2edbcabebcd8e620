"""What the frozen trunk says of every view, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from segvoc.encoders.efficientnet import EfficientNetLite
from tools.tiny.photos import Photo
from tools.tiny.views import SIZE, data_sets, number_of_views, views

CELLS = SIZE // 16
STRIDE = 4
"""The labels that the aggregation learns from are this many pixels apart."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """Of V views of N photographs, L cells each; the first `whole` are squashed pictures and their mirror images.

    stages (V 472 h w), fine: the taps (V 48 2h 2w) and (V 24 4h 4w), fp16. labels (V 4h 4w): word of every fourth
    pixel. targets (whole L words+1): share of each word, and of none, in the cells of whole pictures in 1/255.
    probabilities (N 1000): of ImageNet's classes in an average cell of the whole photograph. photo (V): its number;
    data_set (N): of each photograph.
    """

    photos: Sequence[Photo]
    stages: Tensor
    fine: tuple[Tensor, Tensor]
    labels: Tensor
    targets: Tensor
    probabilities: Tensor
    photo: Tensor
    data_set: Tensor

    @property
    def whole(self) -> int:
        """How many views are whole pictures; every second is a mirror image."""
        return 2 * len(self.photos)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.stages.device


@torch.no_grad()
def read_features(
    tower: EfficientNetLite, photos: Sequence[Photo], words: Sequence[str], seed: int, batch: int = 16
) -> Features:
    """Features of all views."""
    device = tower.class_embeddings.device
    count, classifier = number_of_views(photos), tower.trunk.get_classifier()
    half = {"dtype": torch.half, "device": device}
    stages = torch.empty(count, tower.appearance_channels, CELLS, CELLS, **half)
    fine = tuple(torch.empty(count, c, CELLS * s, CELLS * s, **half) for c, s in zip((48, 24), (2, 4), strict=True))
    labels = torch.empty(count, SIZE // STRIDE, SIZE // STRIDE, dtype=torch.short, device=device)
    photo = torch.empty(count, dtype=torch.long, device=device)
    targets, probabilities = [], torch.zeros(len(photos), 1000, device=device)
    seen, start = views(photos, words, device, seed), 0
    while group := list(islice(seen, batch)):
        place = slice(start, start + len(group))
        start += len(group)
        pixels = torch.stack([view.pixels for view in group])
        stride_4, stride_8, stride_16, last = tower.stages(pixels.contiguous(memory_format=torch.channels_last))
        stages[place], fine[0][place], fine[1][place] = torch.cat([stride_16, last], dim=1), stride_8, stride_4
        labelled = torch.stack([view.labels for view in group])
        labels[place] = labelled[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        photo[place] = torch.tensor([view.photo for view in group], device=device)
        if (left := 2 * len(photos) - place.start) > 0:
            targets.append(_cell_targets(labelled[:left], len(words)))
            shares = classifier(tower.head(last[:left]).movedim(1, -1)).softmax(dim=-1).mean(dim=(1, 2))
            probabilities.index_add_(0, photo[place][:left], shares / 2)
    return Features(
        photos=photos,
        stages=stages,
        fine=(fine[0], fine[1]),
        labels=labels,
        targets=torch.cat(targets),
        probabilities=probabilities,
        photo=photo,
        data_set=data_sets(photos).to(device),
    )


def _cell_targets(labels: Tensor, words: int) -> Tensor:
    cells = labels.unflatten(2, (CELLS, -1)).unflatten(1, (CELLS, -1)).transpose(2, 3).flatten(3).flatten(1, 2)
    counts = torch.zeros(*cells.shape[:2], words + 2, dtype=torch.int16, device=labels.device)
    counts.scatter_add_(2, cells, torch.ones_like(cells, dtype=torch.int16))
    return counts[..., :-1].clamp(max=255).to(torch.uint8)

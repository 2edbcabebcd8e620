"""Features of the frozen trunk and the words of each cell, computed once per photograph and kept on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from segvoc.encoders.efficientnet import EfficientNetLite
from tools.tiny.photos import Photo


@dataclass(kw_only=True)
class PhotoFeatures:
    """One photograph (or its mirror image) as cells: L = height * width rows.

    head (L 1280), stages (L 472): what the projections see, fp16. targets (L words+1): share of each word in the cell
    in 1/255, the last column is "none of the words"; unlabelled pixels count for nothing.
    """

    photo: Photo
    mirrored: bool
    height: int
    width: int
    head: Tensor
    stages: Tensor
    targets: Tensor


def picture(photo: Photo, size: int) -> Tensor:
    """Pixels (1 3 size size) in 0..255, squashed to a square as `segment` does with window="single"."""
    resized = photo.pixels().resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None].float()


def cell_targets(photo: Photo, words: Sequence[str], size: int, stride: int, mirrored: bool) -> Tensor:
    """Share of each word, and of none of them, in every cell (L words+1) in 1/255."""
    index = {word: i for i, word in enumerate(words)}
    ignored = len(words) + 1
    table = torch.full((256,), ignored)
    for i, word in enumerate(photo.words):
        table[i] = len(words) if word is None else index.get(word, ignored)
    resized = Image.fromarray(photo.labels()).resize((size, size), Image.Resampling.NEAREST)
    labels = np.asarray(resized)[:, ::-1] if mirrored else np.asarray(resized)
    grid = size // stride
    cells = table[torch.from_numpy(labels.copy()).long()].view(grid, stride, grid, stride)
    cells = cells.transpose(1, 2).reshape(grid * grid, stride * stride)
    counts = torch.zeros(grid * grid, len(words) + 2, dtype=torch.int16)
    counts.scatter_add_(1, cells, torch.ones_like(cells, dtype=torch.int16))
    return counts[:, :-1].clamp(max=255).to(torch.uint8)


@torch.inference_mode()
def photo_features(
    tower: EfficientNetLite, photos: Sequence[Photo], words: Sequence[str], cache: Path
) -> list[PhotoFeatures]:
    """Features of every photograph and of its mirror image; `cache` keeps what the trunk computed."""
    cache.mkdir(parents=True, exist_ok=True)
    found: list[PhotoFeatures] = []
    for photo in photos:
        for mirrored in (False, True):
            file = cache / f"{photo.key}{'.mirrored' if mirrored else ''}.pt"
            if not file.exists():
                image = picture(photo, tower.input_size)
                _, _, stride_16, last = tower.stages(image.flip(-1) if mirrored else image)
                torch.save(torch.cat([stride_16, last], dim=1).half(), file)
            stages = torch.load(file, weights_only=True)
            head = tower.head(stages[:, 120:].float()).half()
            found.append(
                PhotoFeatures(
                    photo=photo,
                    mirrored=mirrored,
                    height=stages.shape[2],
                    width=stages.shape[3],
                    head=head[0].flatten(1).T.contiguous(),
                    stages=stages[0].flatten(1).T.contiguous(),
                    targets=cell_targets(photo, words, tower.input_size, tower.stride, mirrored),
                )
            )
    return found


@torch.inference_mode()
def costs(tower: EfficientNetLite, features: PhotoFeatures, text: Tensor) -> Tensor:
    """The cost volume (3 T h w) of one photograph with T words: cosines of the tower's three maps."""

    def as_map(cells: Tensor) -> Tensor:
        return cells.float().T.unflatten(1, (features.height, features.width))[None]

    maps = tower.project(as_map(features.head), as_map(features.stages))
    return torch.stack([torch.einsum("bchw,tc->bthw", functional.normalize(m, dim=1), text)[0] for m in maps])

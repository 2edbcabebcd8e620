"""What the lower, frozen half of the trunk says of every view, computed once and kept on disk."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from segvoc.encoders.efficientnet import EfficientNetLite
from segvoc.storage.atomic_writes import write_atomically
from tools.tiny.photos import DATA_SETS, Photo
from tools.tiny.views import CROPS, SIZE, view_plan, views

CELLS = SIZE // 16
STRIDE = 4
"""The labels are this many pixels apart."""

CHUNK = 64
"""Views in one file of the cache."""

SHAPES = {"middle": (120, CELLS, CELLS), "stride_8": (48, 2 * CELLS, 2 * CELLS), "stride_4": (24, 4 * CELLS, 4 * CELLS)}


@dataclass(frozen=True, kw_only=True)
class Features:
    """Of V views of N photographs; the first N views are the whole images, in order."""

    photos: Sequence[Photo]
    """The photographs."""
    middle: Tensor
    """Stride-16 stage of the trunk (V 120 h w), fp16, from which its last stages follow."""
    stride_8: Tensor
    """Tap at stride 8 (V 48 2h 2w), fp16."""
    stride_4: Tensor
    """Tap at stride 4 (V 24 4h 4w), fp16."""
    labels: Tensor
    """Word of every fourth pixel (V 4h 4w), int16; the number of words: none of them; one more: unlabeled."""
    photo: Tensor
    """Photograph of each view (V)."""
    data_set: Tensor
    """Index of each photograph's data set (N)."""

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.middle.device


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What every model is trained on."""

    tower: EfficientNetLite
    """The trunk of ImageNet; its class embeddings are not centered."""
    words: Sequence[str]
    """All words."""
    text: Tensor
    """Their embeddings (T C)."""
    features: Features
    """Of all photographs."""
    cache: Path
    """Folder of unfinished and finished stages."""

    def known(self, unseen: Sequence[str] = ()) -> Tensor:
        """Which words (T) are not `unseen`."""
        return torch.tensor([word not in unseen for word in self.words], device=self.text.device)


def read_features(
    tower: EfficientNetLite, photos: Sequence[Photo], words: Sequence[str], cache: Path, seed: int = 0
) -> Features:
    """Features of all views, from the files in `cache` where these exist; a run that was cut off continues."""
    device, plan = tower.class_embeddings.device, view_plan(photos)
    digest = hashlib.sha256(repr((seed, SIZE, CROPS, [photo.key for photo in photos], list(words))).encode())
    folder = cache / f"features-{digest.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: torch.empty(len(plan), *shape, dtype=torch.half) for name, shape in SHAPES.items()}
    arrays["labels"] = torch.empty(len(plan), SIZE // STRIDE, SIZE // STRIDE, dtype=torch.short)
    for start in tqdm(range(0, len(plan), CHUNK), desc="features", unit="file"):
        file, part = folder / f"{start:06}.safetensors", plan[start : start + CHUNK]
        if not file.exists():
            computed = save(_computed(tower, photos, part, words, device, seed))
            write_atomically(file, lambda stream, content=computed: stream.write(content))
        with safe_open(file, "pt") as chunk:
            for name, array in arrays.items():
                array[start : start + len(part)] = chunk.get_tensor(name)
    return Features(
        photos=photos,
        photo=torch.tensor([index for index, _ in plan], device=device),
        data_set=torch.tensor([DATA_SETS.index(photo.data_set) for photo in photos], device=device),
        **{name: array.to(device) for name, array in arrays.items()},
    )


@torch.no_grad()
def _computed(
    tower: EfficientNetLite,
    photos: Sequence[Photo],
    plan: Sequence[tuple[int, int]],
    words: Sequence[str],
    device: torch.device,
    seed: int,
    batch: int = 8,
) -> dict[str, Tensor]:
    seen = list(views(photos, plan, words, device, seed))
    parts: dict[str, list[Tensor]] = {name: [] for name in SHAPES}
    for start in range(0, len(seen), batch):
        pixels = torch.stack([view.pixels for view in seen[start : start + batch]])
        stride_4, stride_8, middle = tower.lower_stages(pixels.contiguous(memory_format=torch.channels_last))
        for name, part in {"middle": middle, "stride_8": stride_8, "stride_4": stride_4}.items():
            parts[name].append(part.half().cpu().contiguous())
    labels = torch.stack([view.labels for view in seen])[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    return {name: torch.cat(some) for name, some in parts.items()} | {"labels": labels.short().cpu().contiguous()}

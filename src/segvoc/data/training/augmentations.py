"""Random changes of a labelled picture, as CAT-Seg, PCA-Seg and ERR-Seg train with: resize, crop, colours, mirror.

Each takes the generator that it draws from, so that a picture's changes depend on nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as colours

from segvoc.inference.protocols import LoaderResize

Pixels = UInt8[Tensor, "3 H W"]
Labels = Int[Tensor, "*maps H W"]
"""One label map, or several of one picture; where a choice depends on labels, it is by the first."""

Changed = tuple[UInt8[Tensor, "3 h w"], Int[Tensor, "*maps h w"]]

PAD_COLOUR = 128
"""What fills a picture up to the crop."""

CROP_TRIES = 10
"""Crops that are drawn until one has no class of more than the largest share."""

BRIGHTNESS, CONTRAST, SATURATION, HUE = 32.0, (0.5, 1.5), (0.5, 1.5), 18
"""SSD's ranges: of the offset [0..255], the factors, and the turn [2 degrees]."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Resize, crop, colours, mirror, in this order.

    shortest: sides to draw from that the shorter side is resized to [px]; the longer stays within `longest` [px]. crop:
    side of the square that is cut out [px]; a smaller picture is filled up at the bottom and the right, with grey and
    `ignored`. single_class: the largest share of a crop that one class may have (1: any). colour: whether colours are
    changed. flip: probability of the mirror image. squash: probability that the whole picture is squashed to the square
    in place of resize and crop. ignored: label of what has none.
    """

    shortest: Sequence[int]
    longest: int
    crop: int
    single_class: float = 1.0
    colour: bool = True
    flip: float = 0.5
    squash: float = 0.0
    ignored: int

    def __call__(
        self,
        image: Pixels,
        labels: Labels,
        generator: torch.Generator,
        swap_sides: Callable[[Labels], Labels] = lambda labels: labels,
    ) -> Changed:
        """A changed picture and its labels, both `crop` x `crop`; in the mirror labels change as `swap_sides` says."""
        if _chance(generator) < self.squash:
            image, labels = resize(image, labels, (self.crop, self.crop))
        else:
            shortest = self.shortest[_below(len(self.shortest), generator)]
            size = LoaderResize(shortest=shortest, longest=self.longest).size(*image.shape[1:])
            image, labels = resize(image, labels, size)
            image, labels = self.cropped(image, labels, generator)
        if self.colour:
            image = jitter_colours(image, generator)
        if _chance(generator) < self.flip:
            image, labels = image.flip(-1), swap_sides(labels.flip(-1))
        return pad(image, labels, self.crop, self.ignored)

    def cropped(self, image: Pixels, labels: Labels, generator: torch.Generator) -> Changed:
        """A random window of at most `crop` x `crop` whose largest class has less than `single_class` of it.

        Of `CROP_TRIES` windows that all fail the last is taken. Pixels without a label don't count.
        """
        rows, columns = labels.shape[-2:]
        height, width = min(self.crop, rows), min(self.crop, columns)
        window = (slice(0), slice(0))
        for _ in range(1 if self.single_class >= 1 else CROP_TRIES):
            top = _below(rows - height + 1, generator)
            left = _below(columns - width + 1, generator)
            window = (slice(top, top + height), slice(left, left + width))
            seen = labels.reshape(-1, rows, columns)[0][window]
            counts = seen[seen != self.ignored].unique(return_counts=True)[1]
            if len(counts) > 1 and counts.max() < counts.sum() * self.single_class:
                break
        return image[:, window[0], window[1]], labels[..., window[0], window[1]]


def resize(image: Pixels, labels: Labels, size: tuple[int, int]) -> Changed:
    """To `size` (rows, columns): the picture bilinear with antialiasing (Pillow's), the labels by the nearest."""
    if tuple(labels.shape[-2:]) == size:
        return image, labels
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    rows, columns = (
        (2 * torch.arange(new) + 1) * old // (2 * new)  # the cell that the centre lies in, without rounding
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1), labels[..., rows[:, None], columns]


def pad(image: Pixels, labels: Labels, side: int, ignored: int) -> Changed:
    """Filled up to `side` x `side` at the bottom and the right: grey, and no label."""
    margin = (0, side - labels.shape[-1], 0, side - labels.shape[-2])
    return F.pad(image, margin, value=PAD_COLOUR), F.pad(labels, margin, value=ignored)


def jitter_colours(image: Pixels, generator: torch.Generator) -> Pixels:
    """SSD's change of colours (Liu et al., ECCV 2016), each part with probability 1/2.

    Brightness, then contrast, saturation, hue, or, as likely, brightness, then saturation, hue, contrast. After each
    part values are cut to [0, 255] and to whole numbers.
    """
    image = _sometimes(change_brightness, image, generator)
    parts = [change_saturation, change_hue]
    parts = [change_contrast, *parts] if _below(2, generator) else [*parts, change_contrast]
    for change in parts:
        image = _sometimes(change, image, generator)
    return image


def change_brightness(image: Pixels, generator: torch.Generator) -> Pixels:
    """An offset of -32 to 32 for all values."""
    return _whole(image.float() + _between(-BRIGHTNESS, BRIGHTNESS, generator))


def change_contrast(image: Pixels, generator: torch.Generator) -> Pixels:
    """A factor of 0.5 to 1.5 for all values."""
    return _whole(image.float() * _between(*CONTRAST, generator))


def change_saturation(image: Pixels, generator: torch.Generator) -> Pixels:
    """A factor of 0.5 to 1.5 for the saturation of hue, saturation and value, which stays within [0, 1].

    With value V and saturation S, a channel c is V - (V - c): the distance V - c is proportional to S.
    """
    pixels = image.float()
    value, least = pixels.amax(0), pixels.amin(0)
    largest = value / (value - least).clamp(min=1e-6)  # 1 / S
    return _whole(value - (value - pixels) * largest.clamp(max=_between(*SATURATION, generator)))


def change_hue(image: Pixels, generator: torch.Generator) -> Pixels:
    """A turn of the hue by -36 to 34 degrees, in steps of 2."""
    turn = _below(2 * HUE, generator) - HUE
    return colours.adjust_hue(image, turn / 180)


def _sometimes(change, image: Pixels, generator: torch.Generator) -> Pixels:
    return change(image, generator) if _below(2, generator) else image


def _whole(pixels: Tensor) -> Pixels:
    return pixels.clamp(0, 255).to(torch.uint8)


def _chance(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * _chance(generator)


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))

"""The interfaces of image and text encoders ("towers")."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from segvoc.runtime.arrays import numbered_names

IMAGENET_STATISTICS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_STATISTICS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of values in [0, 1], per channel."""


def normalized_pixels(
    image: Float[Tensor, "B 3 H W"], statistics: Sequence[Sequence[float]] = IMAGENET_STATISTICS
) -> Float[Tensor, "B 3 H W"]:
    """Normalize RGB pixels in [0, 255] by a mean and standard deviation."""
    # filled on the device, since copying them there would wait for the GPU
    mean, std = (torch.cat([torch.full((1, 1, 1), v, device=image.device) for v in values]) for values in statistics)
    return (image / 255 - mean) / std


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """Features of a batch of images."""

    maps: tuple[Float[Tensor, "B _ _ _"], ...]
    """Dense maps in the space shared with the text (C channels), of any norm; on one grid, unless the encoder says
    otherwise."""
    taps: tuple[Float[Tensor, "B _ _ _"], ...]
    """Intermediate maps that guide the decoder, in its order of use."""
    appearance: Float[Tensor, "B _ _ _"] | None = None
    """Guidance of the aggregation on the first dense map's grid; None: the first dense map."""

    @property
    def cost_maps(self) -> tuple[Float[Tensor, "B _ _ _"], ...]:
        """The maps that the aggregation compares with the words."""
        return self.maps

    @property
    def guidance(self) -> tuple[Float[Tensor, "B _ _ _"], ...]:
        """What guides the aggregation: the appearance, then the taps."""
        return (self.maps[0] if self.appearance is None else self.appearance, *self.taps)

    def named(self) -> dict[str, Tensor]:
        """All maps by their names in exported programs and taught words."""
        named = {f"map_{i}": feature for i, feature in enumerate(self.maps)}
        named |= {f"tap_{i}": feature for i, feature in enumerate(self.taps)}
        return named if self.appearance is None else named | {"appearance": self.appearance}

    @classmethod
    def of_named(cls, named: Mapping[str, Tensor]) -> "ImageFeatures":
        """The inverse of `named`, which ignores other names."""
        maps, taps = numbered("map", named), numbered("tap", named)
        return cls(maps=maps, taps=taps, appearance=named.get("appearance"))


@dataclass(frozen=True, kw_only=True)
class ClassifiedFeatures(ImageFeatures):
    """Features of an encoder that classifies each cell into known classes."""

    class_logits: Float[Tensor, "B K h w"]
    """Logits of the K known classes, on the grid of the dense maps."""

    @property
    def cost_maps(self) -> tuple[Float[Tensor, "B _ _ _"], ...]:
        """The dense maps, then the logits of the known classes."""
        return (*self.maps, self.class_logits)

    def named(self) -> dict[str, Tensor]:
        """See `ImageFeatures.named`."""
        return super().named() | {"class_logits": self.class_logits}

    @classmethod
    def of_named(cls, named: Mapping[str, Tensor]) -> "ClassifiedFeatures":
        """See `ImageFeatures.of_named`."""
        return cls(**vars(ImageFeatures.of_named(named)), class_logits=named["class_logits"])


def numbered(prefix: str, named: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Collect the arrays `prefix`_0, `prefix`_1, ... in order."""
    return tuple(named[name] for name in numbered_names(prefix, named))


TOWERS = ("image_encoder", "text_encoder")
"""A network's encoders, by name. A segvoc file converted from a plain CLIP lists them as its "parts"."""


@dataclass(frozen=True, kw_only=True)
class TokenFeatures:
    """Tokens of a batch of images."""

    taps: tuple[Float[Tensor, "B L _"], ...]
    """Tokens of several depths, shallow to deep (L = 1 + h w): the CLS token, then the cells row by row."""
    grid: tuple[int, int]
    """Rows and columns of cells (h, w)."""
    maps: tuple[Float[Tensor, "B C h w"], ...] = ()
    """Dense maps in the space shared with the text, if requested."""

    def named(self) -> dict[str, Tensor]:
        """All maps by name, as in `ImageFeatures.named`; the shapes include the grid."""
        named = {f"map_{i}": dense for i, dense in enumerate(self.maps)}
        for i, tap in enumerate(self.taps):
            named[f"cls_{i}"] = tap[:, :1]
            named[f"tap_{i}"] = rearrange(tap[:, 1:], "b (h w) c -> b c h w", h=self.grid[0])
        return named

    @classmethod
    def of_named(cls, named: Mapping[str, Tensor]) -> "TokenFeatures":
        """The inverse of `named`, which ignores other names."""
        taps = numbered("tap", named)
        tokens = [
            torch.cat((start, rearrange(tap, "b c h w -> b (h w) c")), dim=1)
            for start, tap in zip(numbered("cls", named), taps, strict=True)
        ]
        return cls(taps=tuple(tokens), grid=(taps[0].shape[2], taps[0].shape[3]), maps=numbered("map", named))


class Tower(Protocol):
    """Common interface of image and text encoders; each is also a `torch.nn.Module`."""

    channels: int
    """Channels of the space shared by images and texts."""

    def fine_tuned_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that the published recipe trains; empty for a frozen encoder."""
        ...


class ImageEncoder(Tower, Protocol):
    """An encoder from pixels to features."""

    input_size: int
    """Side of the square images that it reads [pixels]."""
    stride: int
    """Sides of the images must be multiples of this [pixels]."""
    tap_channels: tuple[int, ...]
    """Channels of each tap."""

    def __call__(self, image: Float[Tensor, "B 3 H W"]) -> ImageFeatures:
        """Encode RGB pixels in [0, 255]; H and W are multiples of `stride`."""
        ...


class TokenEncoder(ImageEncoder, Protocol):
    """An encoder that also gives tokens."""

    def tokens(self, image: Float[Tensor, "B 3 H W"], *, dense: bool) -> TokenFeatures:
        """Encode RGB pixels in [0, 255]; `dense` adds the dense maps."""
        ...

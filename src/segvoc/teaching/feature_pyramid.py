"""A small convolutional network on the feature maps of a frozen encoder, followed by classifiers of tuned words.

`segvoc train finetune` trains it. It merges the context of the encoder's coarse map with the finer maps, like the
top-down pathway of a feature pyramid network (Lin et al., 2017, arXiv:1612.03144).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from array_api_compat import device
from jaxtyping import Float

from segvoc.arrays import Array, array_namespace, bilinear, convolved, group_normed

DILATIONS = (1, 2, 4)
"""Dilations of the convolutions on the coarse map, with a growing receptive field."""


GROUPS = 8
"""Number of groups of group normalization; divides the pyramid's channels."""


FINER = 2
"""Cells of the output per cell of the coarse map, along each axis."""


def unchanged(x: Array) -> Array:
    """The same."""
    return x


@dataclass(frozen=True, eq=False, kw_only=True)
class FeaturePyramid:
    """The weights, as NumPy arrays or PyTorch tensors; calling it with maps of the same library applies them.

    With maps of D and E channels (coarse, and all finer ones), r = relu(norm(.)):
    x = r(coarse M0), x = x + r(conv(x)) once for each dilation, x = r(up(x) + fine M1...), output = r(conv(x)).
    """

    coarse: Float[Array, "C D"]
    """Projection of the coarse map."""
    coarse_norm: Float[Array, "2 C"]
    """Gain and offset of its norm."""
    context: Float[Array, "L C C 3 3"]
    """Convolutions of coarse cells, one per dilation (`DILATIONS`)."""
    context_norm: Float[Array, "L 2 C"]
    """Gains and offsets of their norms."""
    fine: Float[Array, "C E"]
    """Projection of the finer maps."""
    sum_norm: Float[Array, "2 C"]
    """Gain and offset of the norm of the sum."""
    blend: Float[Array, "C C 3 3"]
    """Convolution of fine cells."""
    blend_norm: Float[Array, "2 C"]
    """Gain and offset of its norm."""

    @property
    def channels(self) -> int:
        """Channels of the output (C)."""
        return len(self.coarse)

    def named(self) -> dict[str, Array]:
        """The weights by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def beside(self, like: Array) -> "FeaturePyramid":
        """Convert the weights to float32 arrays with the library and device of another array."""
        xp = array_namespace(like)
        weights = {name: np.asarray(one, np.float32) for name, one in self.named().items()}
        return FeaturePyramid(**{name: xp.asarray(one, device=device(like)) for name, one in weights.items()})

    def __call__(
        self, maps: Sequence[Float[Array, "N _ _ _"]], drop: Callable[[Array], Array] = unchanged
    ) -> Float[Array, "N C H W"]:
        """Compute the output, on a grid with twice the coarse map's rows and columns.

        Args:
            maps: standardized feature maps in float32, the coarse map first; the others may have any grids.
            drop: dropout in training.
        """
        coarse, *finer = maps
        size = (FINER * int(coarse.shape[2]), FINER * int(coarse.shape[3]))
        x = _rectified(_normed(_pointwise(drop(coarse), self.coarse), self.coarse_norm))
        for number, dilation in enumerate(DILATIONS):
            around = convolved(x, self.context[number], dilation)
            x = x + _rectified(_normed(around, self.context_norm[number]))
        x = bilinear(drop(x), size)
        if finer:
            xp = array_namespace(x)
            x = x + _pointwise(xp.concat([bilinear(one, size) for one in finer], axis=1), self.fine)
        x = _rectified(_normed(x, self.sum_norm))
        return drop(_rectified(_normed(convolved(x, self.blend, 1), self.blend_norm)))


def pyramid_shapes(channels: int, coarse: int, fine: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights by name, for C output channels, D of the coarse map and E of all finer ones."""
    kernel, dilations = (channels, channels, 3, 3), len(DILATIONS)
    return {
        "coarse": (channels, coarse),
        "coarse_norm": (2, channels),
        "context": (dilations, *kernel),
        "context_norm": (dilations, 2, channels),
        "fine": (channels, fine),
        "sum_norm": (2, channels),
        "blend": kernel,
        "blend_norm": (2, channels),
    }


def _rectified(x: Array) -> Array:
    return array_namespace(x).clip(x, min=0.0)


def _pointwise(x: Float[Array, "N D H W"], weight: Float[Array, "C D"]) -> Float[Array, "N C H W"]:
    xp, (count, channels, height, width) = array_namespace(x), x.shape
    found = xp.matmul(weight, xp.reshape(x, (count, channels, height * width)))
    return xp.reshape(found, (count, len(weight), height, width))


def _normed(x: Float[Array, "N C H W"], norm: Float[Array, "2 C"]) -> Float[Array, "N C H W"]:
    return group_normed(x, GROUPS, norm[0], norm[1])

"""Inputs of the classifiers of taught words: feature maps of an image, on every engine, and a pyramid of them.

The pyramid is a small convolutional network on the maps of a frozen encoder, which `segvoc train finetune` trains. It
merges the context of the coarse map with the finer maps, like the top-down pathway of a feature pyramid network (Lin et
al., 2017, arXiv:1612.03144).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from array_api_compat import device, is_torch_array
from jaxtyping import Float, Float32, Int

from segvoc.errors import UsageError
from segvoc.runtime.arrays import (
    Array,
    array_namespace,
    bilinear,
    convolved,
    group_normed,
    neighbors,
    numbered_names,
    to_numpy,
)

APPEARANCE, CLASS_LOGITS, FIRST_MAP = "appearance", "class_logits", "map_0"
"""Names of features in exported programs (`ImageFeatures.named`)."""

FeatureArrays = Mapping[str, Array]
"""Feature maps of N images (N C h w) by name, each on a separate grid."""


def read_features(features: FeatureArrays) -> dict[str, Array]:
    """The maps that classifiers read, in order; `UsageError` if the network has none of them.

    These are the map that guides the aggregation (the encoder's last stages, or its dense map), the logits of the
    encoder's known classes, and the maps that guide the decoder. These logits are a linear function of the
    trunk's head, so a linear classifier on them is equivalent to one on the head.
    """
    taps = numbered_names("tap", features)
    names = [name for name in (first_map(features), CLASS_LOGITS, *taps) if name in features]
    if not names:
        raise UsageError("words can't be taught to this network, which has no feature maps of whole images")
    return {name: features[name] for name in names}


def first_map(features: Mapping[str, object]) -> str:
    """The name of the first map that classifiers read."""
    return APPEARANCE if APPEARANCE in features else FIRST_MAP


def pyramid_inputs(
    features: FeatureArrays, mean: Float32[np.ndarray, " D"], scale: Float32[np.ndarray, " D"]
) -> list[Float[Array, "N _ _ _"]]:
    """The standardized maps that a pyramid reads: all but the logits of known classes, the coarse map first.

    `features` are the maps that classifiers read (`read_features`).
    """
    maps: list[Array] = []
    ends = np.cumsum([one.shape[1] for one in features.values()]).tolist()
    for (name, one), end in zip(features.items(), ends, strict=True):
        if name != CLASS_LOGITS:
            x, xp = as_float32(one), array_namespace(one)
            own = slice(end - one.shape[1], end)
            of_cells = (xp.asarray(part[own], device=device(x))[None, :, None, None] for part in (mean, 1 / scale))
            maps.append((x - next(of_cells)) * next(of_cells))
    return maps


def channels_of(features: FeatureArrays) -> dict[str, int]:
    """The number of channels of each map."""
    return {name: int(one.shape[1]) for name, one in features.items()}


def cell_features(
    features: FeatureArrays, grid: tuple[int, int], cells: Int[np.ndarray, " M"]
) -> Float32[np.ndarray, "M D"]:
    """The features at cells of a grid, counted row by row, in one image (1 C h w).

    All maps are interpolated bilinearly to the grid and concatenated.
    """
    rows, columns = np.divmod(cells, grid[1])
    found: list[np.ndarray] = []
    for one in features.values():
        maps = to_numpy(as_float32(one))[0]
        top, bottom, down = (part[rows] for part in neighbors(maps.shape[1], grid[0], maps, rounded=True))
        left, right, across = (part[columns] for part in neighbors(maps.shape[2], grid[1], maps, rounded=True))
        upper = maps[:, top, left] * (1 - across) + maps[:, top, right] * across
        lower = maps[:, bottom, left] * (1 - across) + maps[:, bottom, right] * across
        found.append((upper * (1 - down) + lower * down).T)
    return np.concatenate(found, axis=1, dtype=np.float32)


def scored(
    features: FeatureArrays,
    weights: Sequence[Float32[np.ndarray, "T _"]],
    bias: Float32[np.ndarray, " T"],
    grid: tuple[int, int],
) -> Float[Array, "N T h w"]:
    """Linear classifiers, with weights for each map, at every cell of a grid: sum_k up(W_k F_k) + b.

    A linear map and bilinear interpolation commute, so each map is classified on its own grid.
    """
    total: Array = 0.0
    for one, weight in zip(features.values(), weights, strict=True):
        maps = as_float32(one)
        weight = array_namespace(maps).asarray(weight, device=device(maps))
        total = total + bilinear(_pointwise(maps, weight), grid)
    xp = array_namespace(total)
    return total + xp.asarray(bias, device=device(total))[None, :, None, None]


def as_float32(maps: Array) -> Array:
    """Convert an array to float32, including types that NumPy lacks."""
    if is_torch_array(maps):
        return maps.float()
    return np.asarray(maps, np.float32)


DILATIONS = (1, 2, 4)
"""Dilations of the convolutions on the coarse map, with a growing receptive field."""

GROUPS = 8
"""Number of groups of group normalization; divides the pyramid's channels."""

FINER = 2
"""Cells of the output per cell of the coarse map, along each axis."""


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

    def named(self) -> dict[str, Array]:
        """The weights by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def to_like(self, like: Array) -> "FeaturePyramid":
        """Convert the weights to float32 arrays with the library and device of another array."""
        xp = array_namespace(like)
        weights = {name: np.asarray(one, np.float32) for name, one in self.named().items()}
        return FeaturePyramid(**{name: xp.asarray(one, device=device(like)) for name, one in weights.items()})

    def __call__(
        self, maps: Sequence[Float[Array, "N _ _ _"]], drop: Callable[[Array], Array] = lambda x: x
    ) -> Float[Array, "N C H W"]:
        """Compute the output, on a grid with twice the coarse map's rows and columns.

        Maps are standardized and in float32, the coarse one first, the others on any grids; `drop` is dropout.
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

"""Inputs of the classifiers of taught words: feature maps of an image, available on every engine."""

from collections.abc import Mapping, Sequence

import numpy as np
from array_api_compat import device, is_torch_array
from jaxtyping import Float, Float32, Int

from segvoc.arrays import Array, array_namespace, bilinear, neighbors, to_numpy
from segvoc.errors import UsageError

APPEARANCE, CLASS_LOGITS, FIRST_MAP = "appearance", "class_logits", "map_0"
"""Names of features in exported programs (`ImageFeatures.named`)."""

FeatureArrays = Mapping[str, Array]
"""Feature maps of N images (N C h w) by name, each on a separate grid."""


def read_features(features: FeatureArrays) -> dict[str, Array]:
    """The maps that classifiers read, in order.

    These are the map that guides the aggregation (the encoder's last stages, or its dense map), the logits of the
    encoder's known classes, and the maps that guide the decoder. tiny's class logits are a linear function of its
    trunk's head, so a linear classifier on them is equivalent to one on the head.

    Raises:
        UsageError: the network has none of these maps.
    """
    taps = sorted(name for name in features if name.startswith("tap_"))
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
        xp, maps = array_namespace(one), as_float32(one)
        count, channels, height, width = maps.shape
        flat = xp.reshape(maps, (count, channels, height * width))
        scores = xp.reshape(
            xp.matmul(xp.asarray(weight, device=device(maps)), flat), (count, len(weight), height, width)
        )
        total = total + bilinear(scores, grid)
    xp = array_namespace(total)
    return total + xp.asarray(bias, device=device(total))[None, :, None, None]


def as_float32(maps: Array) -> Array:
    """Convert an array to float32, including types that NumPy lacks."""
    if is_torch_array(maps):
        return maps.float()
    return np.asarray(maps, np.float32)

"""Functions on NumPy arrays and PyTorch tensors that label search needs beyond the Python array API standard.

Code that runs on both takes the standard's functions from `array_namespace(x)`. On tensors, the functions here
match PyTorch's exactly; tensors stay on their device.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from array_api_compat import device, is_torch_array, to_device
from jaxtyping import Float, Int

Array: TypeAlias = Any
"""A NumPy array or a PyTorch tensor; the standard has no static type for them."""


def array_namespace(x: Array) -> Any:
    """Return the array API namespace of an array.

    NumPy 2.1 and later is its own namespace; `array_api_compat` would import all of NumPy.
    """
    return np if isinstance(x, np.ndarray) else array_api_compat.array_namespace(x)


def to_numpy(x: Array) -> np.ndarray:
    """Convert to a NumPy array, without a copy if the values are in main memory."""
    return np.asarray(to_device(x, "cpu"))


def start_copy(*arrays: Array) -> Callable[[], tuple[np.ndarray, ...]]:
    """Start to copy arrays to main memory; the function that is returned waits for them.

    A CUDA GPU goes on with its work meanwhile. Other arrays are converted at once (`to_numpy`).
    """
    if not on_cuda(arrays[0]):
        converted = tuple(map(to_numpy, arrays))
        return lambda: converted
    import torch  # here, since inference works without it

    pinned = [torch.empty_like(x, device="cpu", pin_memory=True).copy_(x, non_blocking=True) for x in arrays]
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(arrays[0].device))

    def finish() -> tuple[np.ndarray, ...]:
        done.synchronize()
        return tuple(x.numpy().copy() for x in pinned)  # pinned memory is scarce, and results may be kept

    return finish


def on_cpu(x: Array) -> bool:
    """Whether an array is in main memory."""
    return str(device(x)) == "cpu"


def on_cuda(x: Array) -> bool:
    """Whether an array is in the memory of a CUDA GPU, which computes while Python goes on."""
    return getattr(device(x), "type", "cpu") == "cuda"


def sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """1 / (1 + exp(-x))."""
    if is_torch_array(x):
        return x.sigmoid()
    with np.errstate(over="ignore"):  # infinity gives 0, as it should
        return 1 / (1 + np.exp(-x))


def normalized(x: Float[Array, "... C"]) -> Float[Array, "*any C"]:
    """Scale vectors to unit length; vectors shorter than 1e-12 stay shorter than 1."""
    xp = array_namespace(x)
    return x / xp.clip(xp.linalg.vector_norm(x, axis=-1, keepdims=True), min=1e-12)


def strongest(values: Float[Array, "K ..."]) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
    """The maximum over the first axis, and the first index that attains it."""
    if is_torch_array(values):
        # `max` returns the first of equal values, as does `argmax`, which is several times slower
        return values.max(0)
    # along the first axis, `argmax` is several times slower than this loop, too
    value, index = values[0].copy(), np.zeros(values.shape[1:], np.int64)
    for number in range(1, len(values)):
        better = values[number] > value
        np.copyto(value, values[number], where=better)
        np.copyto(index, number, where=better)
    return value, index


def lerp(
    x: Float[Array, "..."], lower: Int[Array, " N"], upper: Int[Array, " N"], weight: Float[Array, " N"], axis: int
) -> Float[Array, "..."]:
    """Interpolate between the cells of an axis: a + weight (b - a) for neighbors a and b, never beyond either.

    `lower` is the index of a for each of N values, `upper` that of b: the next cell, or the last again at the end.
    """
    xp, shape = array_namespace(x), [-1 if number == axis else 1 for number in range(x.ndim)]
    if is_torch_array(x):
        return xp.take(x, lower, axis=axis).lerp(xp.take(x, upper, axis=axis), weight.reshape(shape))
    near = weight < 0.5
    if len(lower) < x.shape[axis]:
        found = x.take(upper, axis) - x.take(lower, axis)
    else:  # there are fewer differences of cells than of values
        found = np.diff(x, axis=axis, append=x.take([-1], axis)).take(lower, axis)
    found *= np.where(near, weight, weight - 1).reshape(shape)
    found += x.take(np.where(near, lower, upper), axis)
    return found


def neighbors(
    cells: int, pixels: int, like: Array, *, rounded: bool = False
) -> tuple[Int[Array, " {pixels}"], Int[Array, " {pixels}"], Float[Array, " {pixels}"]]:
    """For each pixel of an axis, the two cells that bilinear interpolation blends (corners not aligned).

    `like` is an array whose library and device to use; `rounded` rounds as PyTorch does for float32 maps. Returns the
    indices of the lower and the upper cell, and the weight of the upper cell, in [0, 1).
    """
    xp, scale = array_namespace(like), cells / pixels
    # Apple's GPUs have no float64
    exact = xp.float32 if getattr(device(like), "type", None) == "mps" else xp.float64
    number = xp.arange(pixels, dtype=exact, device=device(like))
    place = xp.clip((number + 0.5) * (float(np.float32(scale)) if rounded else scale) - 0.5, min=0)
    place = xp.astype(place, xp.float32) if rounded else place
    lower = xp.clip(xp.astype(place, xp.int64), max=cells - 1)
    return lower, xp.clip(lower + 1, max=cells - 1), xp.astype(place - xp.astype(lower, place.dtype), xp.float32)


def interpolated(x: Float[Array, "..."], axis: int, pixels: int) -> Float[Array, "..."]:
    """Linear interpolation along one axis to `pixels` values, corners not aligned."""
    return lerp(x, *neighbors(x.shape[axis], pixels, x, rounded=True), axis)


def bilinear(maps: Float[Array, "N C h w"], size: tuple[int, int]) -> Float[Array, "N C H W"]:
    """Bilinear interpolation to `size` (rows, columns), corners not aligned; maps of that size are returned as is."""
    if tuple(maps.shape[2:]) == size:
        return maps
    if is_torch_array(maps):
        from torch.nn import functional

        return functional.interpolate(maps, size=size, mode="bilinear")
    return interpolated(interpolated(maps, 2, size[0]), 3, size[1])


def convolved(
    x: Float[Array, "N C H W"], weight: Float[Array, "D C 3 3"], dilation: int = 1
) -> Float[Array, "N D H W"]:
    """3 x 3 convolution with zero padding."""
    if is_torch_array(x):
        from torch.nn import functional

        return functional.conv2d(x, weight, padding=dilation, dilation=dilation)
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (dilation, dilation), (dilation, dilation)))
    total = np.zeros((x.shape[0], weight.shape[0], height * width), x.dtype)
    for row in range(3):
        for column in range(3):
            down, across = row * dilation, column * dilation
            window = padded[:, :, down : down + height, across : across + width]
            total += weight[:, :, row, column] @ window.reshape(*x.shape[:2], height * width)
    return total.reshape(x.shape[0], -1, height, width)


def group_normed(
    x: Float[Array, "N C H W"], groups: int, gain: Float[Array, " C"], offset: Float[Array, " C"]
) -> Float[Array, "N C H W"]:
    """Group normalization (Wu and He, 2018, arXiv:1803.08494), epsilon 1e-5."""
    if is_torch_array(x):
        from torch.nn import functional

        return functional.group_norm(x, groups, gain, offset)
    parts = x.reshape(x.shape[0], groups, -1)
    parts = parts - parts.mean(axis=2, keepdims=True)
    parts /= np.sqrt(np.square(parts).mean(axis=2, keepdims=True) + 1e-5)
    return parts.reshape(x.shape) * gain[:, None, None] + offset[:, None, None]


def numbered_names(prefix: str, named: Iterable[str]) -> list[str]:
    """The names `prefix`_0, `prefix`_1, ... among others, by number: 10 comes after 2."""
    found = [name for name in named if re.fullmatch(rf"{prefix}_[0-9]+", name)]
    return sorted(found, key=lambda name: int(name.removeprefix(f"{prefix}_")))

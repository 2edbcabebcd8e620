"""Operations on feature maps: pooling, resizing, and adding what all classes share."""

from collections.abc import Callable

from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segvoc.shapes import ClassTokens


def resized(maps: Float[Tensor, "N C h w"], size: tuple[int, int]) -> Float[Tensor, "N C H W"]:
    """Bilinear interpolation to `size` (rows, columns), corners not aligned; maps of that size are returned as is."""
    return maps if tuple(maps.shape[2:]) == size else F.interpolate(maps, size=size, mode="bilinear")


def pool(x: ClassTokens, pooling: tuple[int, int]) -> Float[Tensor, "B T h w C"]:
    """Average over `pooling` cells (rows, columns); a smaller grid becomes one cell."""
    if pooling == (1, 1):
        return x
    kernel = (min(pooling[0], x.shape[2]), min(pooling[1], x.shape[3]))
    return on_maps(lambda maps: F.avg_pool2d(maps, kernel), x)


def unpool(x: ClassTokens, size: tuple[int, int]) -> Float[Tensor, "B T h w C"]:
    """Bilinear interpolation to `size` cells (rows, columns) with aligned corners."""
    if tuple(x.shape[2:4]) == size:
        return x
    return on_maps(lambda maps: F.interpolate(maps, size=size, mode="bilinear", align_corners=True), x)


def on_maps(operation: Callable[[Tensor], Tensor], x: ClassTokens) -> Float[Tensor, "B T h w D"]:
    """Apply an operation on maps (N C H W) to the features of every class."""
    maps = operation(rearrange(x, "b t h w c -> (b t) c h w"))
    return rearrange(maps, "(b t) c h w -> b t h w c", b=x.shape[0])


def plus_shared(maps: Float[Tensor, "BT D H W"], shared: Float[Tensor, "B D H W"]) -> Float[Tensor, "BT D H W"]:
    """Add a map of each image to the maps of its T classes."""
    return (maps.unflatten(0, (shared.shape[0], -1)) + shared[:, None]).flatten(0, 1)

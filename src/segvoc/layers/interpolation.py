"""Maps at another size."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def resized(maps: Float[Tensor, "N C h w"], size: tuple[int, int]) -> Float[Tensor, "N C H W"]:
    """Bilinear interpolation to `size` (rows, columns), centres on centres; maps of that size as they are."""
    return maps if tuple(maps.shape[2:]) == size else F.interpolate(maps, size=size, mode="bilinear")

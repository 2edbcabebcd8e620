"""Puts maps of every other cell together to one map of twice the resolution."""

from itertools import product

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from segvoc.layers.exporting import is_exporting


def upsampled(
    x: Float[Tensor, "BT C H W"], kernel: Float[Tensor, "_ C 2 2"], shared: Float[Tensor, "B D _ _"]
) -> Float[Tensor, "BT D 2*H 2*W"]:
    """Four convolutions of coarse maps, each for one of the four fine cells of a coarse one, plus a shared map.

    Args:
        x: coarse maps of T classes of each of B images; the classes of one image are consecutive.
        kernel: kernels of the four convolutions, one after another: D channels each.
        shared: what is added to all classes of an image, at the fine resolution.
    """
    rows, columns = x.shape[2:]
    if is_exporting():  # the same as one transposed convolution; assignments would become slow scatter operations
        kernel = rearrange(kernel, "(p q d) c m n -> c d (m p) (n q)", p=2, q=2).flip((2, 3))
        fine = F.conv_transpose2d(x, kernel, stride=2, padding=1)
        return (fine.unflatten(0, (shared.shape[0], -1)) + shared[:, None]).flatten(0, 1)
    phases = F.conv2d(x, kernel, padding=1).unflatten(1, (2, 2, -1))
    size = (x.shape[0], phases.shape[3], 2 * rows, 2 * columns)
    fine = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    for p, q in product((0, 1), (0, 1)):
        fine[:, :, p::2, q::2] = phases[:, p, q, :, p : p + rows, q : q + columns]
    fine.unflatten(0, (shared.shape[0], -1)).add_(shared[:, None])
    return fine

"""The cost volume: how alike is every cell of the picture to every word."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def cost_volume(image: Float[Tensor, "B C H W"], text: Float[Tensor, "B T P C"]) -> Float[Tensor, "B P T H W"]:
    """Cosine similarity of every cell with every prompt of every class.

    Source: PCA-Seg, Eq. 1 (CAT-Seg, Eq. 1).

    Args:
        image: dense features, one cell per patch, of any norm.
        text: P prompt embeddings for each of T classes, of any norm.

    Returns:
        similarity in [-1, 1], unitless.

    Raises:
        ValueError: the channel counts differ.
    """
    if image.shape[1] != text.shape[-1]:
        raise ValueError(f"the picture has {image.shape[1]} feature channels, the text {text.shape[-1]}")
    return torch.einsum("bchw,btpc->bpthw", F.normalize(image, dim=1), F.normalize(text, dim=-1))

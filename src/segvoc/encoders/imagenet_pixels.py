"""Pixels as networks that were trained on ImageNet read them."""

import torch
from jaxtyping import Float
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor


def imagenet_pixels(image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """RGB pixels in [0, 255], less ImageNet's mean and divided by its standard deviation."""
    mean, std = torch.tensor((IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD), device=image.device).view(2, 3, 1, 1)
    return (image / 255 - mean) / std

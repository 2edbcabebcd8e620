"""Views of an image as a tensor, for tests that give them to a PyTorch network."""

import numpy as np
import torch

from segvoc.inference import windows
from segvoc.inference.protocols import Protocol


def views(image: np.ndarray, protocol: Protocol) -> torch.Tensor:
    return torch.from_numpy(windows.views(image, protocol))

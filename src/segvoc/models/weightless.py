"""Modules without memory for their weights, which a file's tensors then take the place of."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def weightless() -> Iterator[None]:
    """Build modules on the meta device, without memory or random weights.

    Alone, that device runs the Python reference of every random draw, which takes as long to import as PyTorch itself.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Skips random initialization."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        filled = args[0] if args else named.get("tensor")
        if func in _FILLS and isinstance(filled, Tensor) and filled.is_meta:
            return filled
        if func in _RANDOM_TENSORS:
            return torch.empty(*args, **{name: value for name, value in named.items() if name != "generator"})
        return func(*args, **named)


_DRAWS = {nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_, Tensor.normal_, Tensor.uniform_}
_FILLS = _DRAWS | {Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_, Tensor.fill_, Tensor.zero_}
"""Random fills of a tensor, and operations in place that libraries chain to draw from other distributions."""

_RANDOM_TENSORS = frozenset((torch.rand, torch.randn))
"""Functions that create random tensors, with the arguments of `torch.empty`."""

"""Networks built without weights, on the meta device."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def weightless() -> Iterator[None]:
    """Build modules on the meta device, without memory or random weights.

    Without this context, PyTorch runs its Python reference of every random draw even on that device, which imports its
    compiler and takes as long as importing PyTorch itself.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Skips random initialization."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func in _DRAWS:
            return args[0] if args else named["tensor"]
        if func in _STEPS_OF_DRAWS and args[0].is_meta:
            return args[0]
        if func in _RANDOM_TENSORS:
            return torch.empty(*args, **{name: value for name, value in named.items() if name != "generator"})
        return func(*args, **named)


_DRAWS = frozenset((nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_, Tensor.normal_, Tensor.uniform_))
"""Random fills of a tensor, which the functions of `torch.nn.init` call."""

_STEPS_OF_DRAWS = frozenset((Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_, Tensor.fill_, Tensor.zero_))
"""In-place operations that libraries chain to draw from other distributions or fill tensors."""

_RANDOM_TENSORS = frozenset((torch.rand, torch.randn))
"""Functions that create random tensors, with the arguments of `torch.empty`."""

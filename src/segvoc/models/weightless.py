"""Networks of which only the shapes are needed, because their weights come from a file or not at all."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def weightless() -> Iterator[None]:
    """Modules that are built in this context are on the meta device: they take no memory and draw no random weights.

    There is nothing to fill on that device, but PyTorch runs its Python reference of every draw all the same. For that
    it imports its compiler, which takes as long as importing PyTorch itself.
    """
    with torch.device("meta"), _NoDraws():
        yield


class _NoDraws(TorchFunctionMode):
    """Leaves tensors empty instead of filling them with random values."""

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
"""What fills a tensor with random values; the other functions of `torch.nn.init` call these."""

_STEPS_OF_DRAWS = frozenset((Tensor.erfinv_, Tensor.mul_, Tensor.add_, Tensor.clamp_, Tensor.fill_, Tensor.zero_))
"""What libraries that draw from other distributions, or fill tensors, call one after the other."""

_RANDOM_TENSORS = frozenset((torch.rand, torch.randn))
"""What makes a tensor of random values, with the arguments of `torch.empty`."""

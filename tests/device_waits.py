"""A mode in which nothing may wait for the device: what would hold up a GPU fails, also on the CPU."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = (
    *("_local_scalar_dense", "item", "is_nonzero", "equal"),  # a value on the host
    *("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"),  # a size on the host
)
"""Operators whose result the host waits for."""


class NoDeviceWaits(TorchDispatchMode):
    """Raises an error at an operator that the host waits for: `.item()`, `if tensor:`, a boolean index."""

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device"
        if name in ("index", "index_put", "index_put_"):
            places = [place for place in args[1] if place is not None]
            assert all(place.dtype not in (torch.bool, torch.uint8) for place in places), f"{name} by a mask waits"
        return function(*args, **(kwargs or {}))

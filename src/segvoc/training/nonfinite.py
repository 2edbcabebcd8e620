"""Where a step of training stops being finite."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from segvoc.errors import listed


def find_nonfinite(
    network: nn.Module,
    losses: dict[str, float],
    passes: Sequence[tuple[Any, ...]],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> str:
    """Name non-finite losses, weights and gradients, and the module where they start, in one line.

    The forward passes, as many in every process, are repeated without gradients, in the network's mode, so they change
    running statistics. They run under the caller's autocast: float16 may overflow where float32 doesn't.
    """
    outputs: list[str] = []  # the first module with finite inputs but a non-finite output; inner ones come first
    names = {module: name for name, module in network.named_modules()}

    def look(module: nn.Module, given: object, named: object, result: object) -> None:
        if not outputs and not is_finite(result) and is_finite(given) and is_finite(named):
            outputs.append(names[module])

    handles = [module.register_forward_hook(look, with_kwargs=True) for module in names]
    try:
        for inputs in passes:  # run all, since batch norm may wait for other processes
            with torch.no_grad(), autocast():
                network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    parameters = dict(network.named_parameters())
    gradients = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    found = {
        "losses": [f"{name} ({value})" for name, value in losses.items() if not math.isfinite(value)],
        "weights": [name for name, value in parameters.items() if not is_finite(value)],
        "outputs of": outputs,
        "gradients of": [name for name, value in gradients.items() if not is_finite(value)],
    }
    named = {kind: [name or "the network" for name in names] for kind, names in found.items() if names}
    return "; ".join(f"{kind} {listed(names, 3)}" for kind, names in named.items())


def is_finite(value: object) -> bool:
    """Whether all numbers in a tensor, or in containers of tensors, are finite; other values count as finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    return all(map(is_finite, value)) if isinstance(value, list | tuple) else True

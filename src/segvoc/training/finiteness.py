"""Diagnosis of a step whose loss or gradients are not finite."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

NAMED = 3
"""How many tensors of each kind a message names."""


def all_finite(values: Iterable[float]) -> bool:
    """Whether none is NaN or infinite."""
    return bool(torch.tensor(list(values)).isfinite().all())


def tensors_finite(values: Iterable[Tensor]) -> bool:
    """Whether none has a NaN or an infinite number; of sharded tensors, in the part of this process."""
    return all(_finite(value.to_local() if isinstance(value, DTensor) else value.detach()) for value in values)


def not_finite(
    network: nn.Module,
    losses: dict[str, float],
    passes: Sequence[tuple[Any, ...]],
    autocast: Callable[[], AbstractContextManager[Any]],
) -> str:
    """Name the losses, weights and gradients that are not finite, and the module that it began in, in one line.

    The forward passes are repeated without gradients, in the network's mode, so they change running statistics.

    Args:
        network: maps the inputs of a pass to losses.
        losses: the step's losses.
        passes: inputs of the step's forward passes, as many in every process.
        autocast: what they run in; float16 may overflow where float32 doesn't.
    """
    parameters = dict(network.named_parameters())
    gradients = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    found = {
        "losses": [f"{name} ({value})" for name, value in losses.items() if not all_finite([value])],
        "weights": [name for name, value in parameters.items() if not _finite(value)],
        "outputs of": _first_module(network, passes, autocast),
        "gradients of": [name for name, value in gradients.items() if not _finite(value)],
    }
    return "; ".join(f"{kind} {_some(names)}" for kind, names in found.items() if names)


def _first_module(
    network: nn.Module, passes: Sequence[tuple[Any, ...]], autocast: Callable[[], AbstractContextManager[Any]]
) -> list[str]:
    """The first module with finite inputs, but an output that isn't; modules inside come before those around them."""
    found: list[str] = []
    names = {module: name for name, module in network.named_modules()}

    def look(module: nn.Module, given: object, named: object, result: object) -> None:
        if not found and not _finite(result) and _finite(given) and _finite(named):
            found.append(names[module])

    handles = [module.register_forward_hook(look, with_kwargs=True) for module in names]
    try:
        for inputs in passes:  # all of them, since batch norm may wait for the other processes
            with torch.no_grad(), autocast():
                network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _finite(value: object) -> bool:
    """Whether all numbers in a tensor, or in containers of tensors, are finite; other values count as finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(name or "the network" for name in names[:NAMED]) + more

"""Diagnosis of a step whose loss or gradients are not finite."""

from collections.abc import Iterable
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


def not_finite(network: nn.Module, losses: dict[str, float], inputs: tuple[Any, ...]) -> str:
    """Name the losses, weights, gradients and module outputs that are not finite, in one line.

    The forward pass is repeated without gradients to find the modules with finite inputs but outputs that are not.
    """
    parameters = dict(network.named_parameters())
    gradients = {name: value.grad for name, value in parameters.items() if value.grad is not None}
    found = {
        "losses": [f"{name} ({value})" for name, value in losses.items() if not all_finite([value])],
        "weights": [name for name, value in parameters.items() if not _finite(value)],
        "outputs of": _first_modules(network, inputs),
        "gradients of": [name for name, value in gradients.items() if not _finite(value)],
    }
    return "; ".join(f"{kind} {_some(names)}" for kind, names in found.items() if names)


def _first_modules(network: nn.Module, inputs: tuple[Any, ...]) -> list[str]:
    first: list[str] = []
    names = {module: name for name, module in network.named_modules()}

    def look(module: nn.Module, given: object, result: object) -> None:
        if not _finite(result) and _finite(given):
            first.append(names[module])

    training = network.training
    handles = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            network.eval()(*inputs)  # evaluation mode keeps the running statistics unchanged
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return first


def _finite(value: object) -> bool:
    """Whether all numbers in a tensor, or in a nested list of tensors, are finite; other values count as finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(name or "the network" for name in names[:NAMED]) + more

"""Where a step went wrong: the first numbers that are not finite."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NAMED = 3
"""Tensors of each kind that one line names."""


def all_finite(values: Iterable[float]) -> bool:
    """Whether none is NaN or infinite."""
    return bool(torch.tensor(list(values)).isfinite().all())


def not_finite(network: nn.Module, losses: dict[str, float], inputs: tuple[Any, ...]) -> str:
    """Which losses, weights, gradients and outputs of modules are not finite, in a line.

    The network's forward pass is run once more without gradients; the first modules are named whose output is not
    finite though their inputs are.
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
            network.eval()(*inputs)  # in evaluation mode: running statistics must not see this pass again
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return first


def _finite(value: object) -> bool:
    """Whether all numbers in it are; in what is no tensor nor a list of some there are none."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(name or "the network" for name in names[:NAMED]) + more

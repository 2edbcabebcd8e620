"""Exponential moving average (EMA) of the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


class WeightAverage:
    """Averages the state that training changes: mean <- decay * mean + (1 - decay) * value after each step.

    Early on, the decay is min(decay, (1 + t) / (10 + t)) after step t, so that the average soon forgets the initial
    weights. Buffers are averaged with the same decay, so that running statistics fit the averaged weights; integers
    (counts of batches) are copied.

    Args:
        state: the tensors by name, parameters and buffers; training changes them in place.
        decay: the decay.
    """

    def __init__(self, state: Mapping[str, Tensor], decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.state = dict(state)
        self.means = {name: value.detach().clone() for name, value in state.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Add the state after one more step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, mean in self.means.items():
            value = self.state[name].detach()
            if value.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def full_state(self) -> dict[str, Any]:
        """The state as full tensors, gathered where the weights are sharded."""
        return {"steps": self.steps, "means": {name: _full(mean) for name, mean in self.means.items()}}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Any]) -> None:
        """Load a state that `full_state` returned."""
        self.steps = state["steps"]
        for name, mean in self.means.items():
            value = state["means"][name].to(mean.device)
            if isinstance(mean, DTensor):
                value = distribute_tensor(value, mean.device_mesh, mean.placements)
            mean.copy_(value)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages in the place of the network's own state for the duration of the context."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, mean in self.means.items():
            own = self.state[name].detach()
            kept = own.clone()
            own.copy_(mean)
            mean.copy_(kept)


def _full(mean: Tensor) -> Tensor:
    return (mean.full_tensor() if isinstance(mean, DTensor) else mean).cpu().clone()

"""How an aggregation goes over the classes: in chunks, whose intermediate values are kept or computed twice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

from segvoc.layers.class_selection import ClassSelection
from segvoc.shapes import ClassTokens

StreamObserver = Callable[[ClassTokens, ClassTokens], None]
"""Sees the spatial and the class stream of each block, chunk by chunk."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class AggregationContext:
    """What one forward pass asks of an aggregation beside its inputs."""

    pooling: tuple[int, int]
    """Cells (rows, columns) that class aggregation pools."""
    selection: ClassSelection | None
    """Chooses the classes of each image to go on with; None: all."""
    chunk: int
    """Classes that are worked on at a time. It bounds memory; the result doesn't depend on it."""
    observe: StreamObserver | None = None
    """Sees the two streams of each block."""
    recompute: bool = False
    """Whether the backward pass computes a chunk's intermediate values again, which are then not kept."""

    def run(self, function: Callable[..., _Result], *inputs: Any) -> _Result:
        """Call `function` on one chunk of classes; with `recompute` it is checkpointed."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return function(*inputs)

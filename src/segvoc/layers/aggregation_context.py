"""How a network is run over the classes: in chunks, whose intermediate values are kept or computed twice."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch.utils.checkpoint import checkpoint

from segvoc.layers.class_selection import ClassSelection
from segvoc.shapes import ClassTokens

StreamObserver = Callable[[ClassTokens, ClassTokens], None]
"""Sees the spatial and the class stream of each block, classes in chunks."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pass:
    """How an aggregation is run: see `SegmentationNetwork.selected_logits`."""

    pooling: tuple[int, int]
    selection: ClassSelection | None
    chunk: int
    observe: StreamObserver | None = None
    recompute: bool = False

    def part(self, function: Callable[..., Result], *inputs: Any) -> Result:
        """`function` of some classes; with `recompute` the backward pass computes its inner values once more."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return function(*inputs)

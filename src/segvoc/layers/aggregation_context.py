"""Context of an aggregation besides its features: class pooling, selection and chunks."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segvoc.layers.class_selection import GroundTruthFirst, Kept, kept_classes
from segvoc.layers.selection import ClassSelection
from segvoc.layers.shapes import ClassTokens, CostVolume

_Result = TypeVar("_Result")

StreamObserver = Callable[[int, ClassTokens, ClassTokens], None]
"""Called with the number of a block (from 0), its spatial and its class stream, for each chunk of classes."""


class ForwardOptions(TypedDict, total=False):
    """Options of a forward pass; see `AggregationContext`."""

    pooling: tuple[int, int]
    selection: ClassSelection | None
    chunk: int | None
    observe: StreamObserver | None
    first: GroundTruthFirst | None
    recompute: bool


@dataclass(frozen=True)
class AggregationContext:
    """Settings of a forward pass; not every aggregation uses all of them."""

    pooling: tuple[int, int] = (2, 2)
    """Cells (rows, columns) over which class aggregation pools."""
    selection: ClassSelection | None = None
    """Selects the classes of each image to refine; None keeps all of them."""
    chunk: int | None = None
    """Max classes per chunk (None: all); bounds memory without affecting the result."""
    observe: StreamObserver | None = None
    """Called with the two streams of each block."""
    first: GroundTruthFirst | None = None
    """In training: classes that are selected before all others."""
    recompute: bool = False
    """Recompute the activations of a chunk in the backward pass instead of storing them."""
    block: int = 0
    """Number of the block that receives this context."""

    def select(self, cost: CostVolume) -> Kept | None:
        """Select the classes of each image by these costs; see `kept_classes`."""
        return kept_classes(self.selection, cost, self.first)

    def of_block(self, number: int) -> "AggregationContext":
        """The context for the block with this number."""
        return replace(self, block=number)

    def each(
        self, function: Callable[..., _Result], *of_classes: Tensor, shared: Sequence[Any] = (), dim: int = 1
    ) -> list[_Result]:
        """Call `function` on each chunk of classes of these tensors, followed by the shared arguments."""
        return self.run_chunks(function, list(zip(*(self.split(x, dim) for x in of_classes), strict=True)), shared)

    def run_chunks(
        self, function: Callable[..., _Result], chunks: Sequence[tuple[Tensor, ...]], shared: Sequence[Any] = ()
    ) -> list[_Result]:
        """Call `function` on the tensors of each chunk, followed by the shared arguments."""
        return [self.run(function, *chunk, *shared) for chunk in chunks]

    def map(self, function: Callable[..., Tensor], *of_classes: Tensor, shared: Sequence[Any] = ()) -> Tensor:
        """Like `each`, but concatenate the results along the class axis."""
        return torch.cat(self.each(function, *of_classes, shared=shared), dim=1)

    def split(self, x: Tensor, dim: int = 1) -> Sequence[Tensor]:
        """Split a tensor along its class axis into as few equal chunks as possible."""
        if self.chunk is None:
            return (x,)
        parts = max(1, math.ceil(x.shape[dim] / self.chunk))
        size, larger = divmod(x.shape[dim], parts)
        # unlike `tensor_split`, whose gradient sums a full-size tensor per chunk
        return x.split([size + (number < larger) for number in range(parts)], dim)

    def on_pooled_cells(self) -> "AggregationContext":
        """The context for pooled maps: with fewer cells, larger chunks take the same memory."""
        return self if self.chunk is None else replace(self, chunk=self.chunk * math.prod(self.pooling))

    def run(self, function: Callable[..., _Result], *inputs: Any) -> _Result:
        """Call `function` on one chunk of classes, checkpointed if `recompute` is set."""
        if self.recompute:
            return checkpoint(function, *inputs, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return function(*inputs)

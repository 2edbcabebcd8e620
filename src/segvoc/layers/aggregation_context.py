"""What an aggregation is told beside its features: how to process the classes, and what the image encoder knows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segvoc.layers.class_selection import ClassSelection
from segvoc.layers.class_workers import map_in_workers, may_use_workers
from segvoc.layers.recomputed_chunks import each_recomputed
from segvoc.shapes import ClassTokens

StreamObserver = Callable[[ClassTokens, ClassTokens], None]
"""Called with the spatial and the class stream of each block, chunk by chunk."""

_Result = TypeVar("_Result")


class ClassOptions(TypedDict, total=False):
    """How a forward pass goes over the classes; see `SegmentationNetwork.selected_logits`."""

    pooling: tuple[int, int]
    chunk: int | None
    observe: StreamObserver | None
    recompute: bool
    workers: int


class ForwardOptions(ClassOptions, total=False):
    """The same, and which classes go on."""

    selection: ClassSelection | None


@dataclass(frozen=True)
class AggregationContext:
    """Settings of one forward pass of an aggregation, and what only some aggregations use."""

    pooling: tuple[int, int] = (2, 2)
    """Cells (rows, columns) over which class aggregation pools."""
    selection: ClassSelection | None = None
    """Selects the classes of each image to refine; None keeps all of them."""
    chunk: int | None = None
    """Classes to process at a time, at most (None: all). It bounds memory and doesn't affect the result."""
    observe: StreamObserver | None = None
    """Called with the two streams of each block."""
    recompute: bool = False
    """Recompute the activations of a chunk in the backward pass instead of storing them."""
    workers: int = 1
    """Threads that process a chunk each, on a CPU (`class_workers`)."""
    class_logits: Float[Tensor, "B K h w"] | None = None
    """What the image encoder says of K classes that it knows, on the grid of the dense maps; see `ImageFeatures`."""

    def each(
        self,
        function: Callable[..., _Result],
        *of_classes: Tensor,
        shared: Sequence[Any] | None = None,
        dim: int = 1,
    ) -> list[_Result]:
        """Call `function` with each chunk of classes.

        Args:
            function: takes the same classes of each tensor.
            of_classes: tensors with an axis of classes.
            shared: more arguments, which all chunks share; see `over`.
            dim: the axis of classes.

        Returns:
            The results in the order of the classes.
        """
        return self.over(function, list(zip(*(self.split(x, dim) for x in of_classes), strict=True)), shared)

    def over(
        self,
        function: Callable[..., _Result],
        chunks: Sequence[tuple[Tensor, ...]],
        shared: Sequence[Any] | None = None,
    ) -> list[_Result]:
        """Call `function` with each of some chunks.

        Args:
            function: takes the tensors of a chunk, and what is shared.
            chunks: the tensors of each.
            shared: more arguments: whatever holds tensors, methods of modules. Those given, `function` depends on no
                other tensors that need gradients but on parameters of modules (its own and those of methods that are
                shared), and draws no random numbers. Only then is it recomputed by several workers at a time.

        Returns:
            The results in the order of the chunks.
        """
        if len(chunks) > 1 and self.workers > 1 and may_use_workers():
            if not torch.is_grad_enabled() and self.observe is None:
                return map_in_workers(function, [(*chunk, *(shared or ())) for chunk in chunks], self.workers)
            if torch.is_grad_enabled() and self.recompute and shared is not None:
                return each_recomputed(function, chunks, shared, self.workers)
        return [self.run(function, *chunk, *(shared or ())) for chunk in chunks]

    def map(
        self, function: Callable[..., Tensor], *of_classes: Tensor, shared: Sequence[Any] | None = None, dim: int = 1
    ) -> Tensor:
        """Call `function` as `each` does, and concatenate the results along their axis of classes."""
        return torch.cat(self.each(function, *of_classes, shared=shared, dim=dim), dim=dim)

    def split(self, x: Tensor, dim: int = 1) -> Sequence[Tensor]:
        """Split a tensor along its axis of classes into chunks of equal sizes, as many for each worker."""
        if self.chunk is None:
            return (x,)
        rounds = math.ceil(x.shape[dim] / (self.chunk * self.workers))
        parts = min(rounds * self.workers, x.shape[dim])
        size, larger = divmod(x.shape[dim], parts)
        # unlike `tensor_split`, whose gradient is a sum of as many tensors of the whole size
        return x.split([size + (number < larger) for number in range(parts)], dim)

    def on_pooled_cells(self) -> "AggregationContext":
        """This context with larger chunks, for pooled maps: as a class has fewer cells there, memory stays the same."""
        return self if self.chunk is None else replace(self, chunk=self.chunk * math.prod(self.pooling))

    def run(self, function: Callable[..., _Result], *inputs: Any) -> _Result:
        """Call `function` on one chunk of classes, checkpointed if `recompute` is set."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return function(*inputs)

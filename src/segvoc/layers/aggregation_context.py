"""What an aggregation is told beside its features: how to process the classes, and what the image encoder knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from segvoc.layers.class_selection import ClassSelection
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
    """Classes to process at a time (None: all). It bounds memory and doesn't affect the result."""
    observe: StreamObserver | None = None
    """Called with the two streams of each block."""
    recompute: bool = False
    """Recompute the activations of a chunk in the backward pass instead of storing them."""
    class_logits: Float[Tensor, "B K h w"] | None = None
    """What the image encoder says of K classes that it knows, on the grid of the dense maps; see `ImageFeatures`."""

    def split(self, x: Tensor, dim: int = 1) -> Sequence[Tensor]:
        """Split a tensor along its axis of classes, into chunks."""
        return split_classes(x, self.chunk, dim)

    def run(self, function: Callable[..., _Result], *inputs: Any) -> _Result:
        """Call `function` on one chunk of classes, checkpointed if `recompute` is set."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False)  # pyright: ignore[reportReturnType]
        return function(*inputs)


def split_classes(x: Tensor, chunk: int | None, dim: int = 1) -> Sequence[Tensor]:
    """Split a tensor along its axis of classes into chunks of `chunk` classes; None leaves it whole."""
    return (x,) if chunk is None else x.split(chunk, dim)

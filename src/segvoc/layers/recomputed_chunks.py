"""Chunks of classes whose activations are computed again in the backward pass, several chunks at a time.

PyTorch's checkpoints do so one after the other: a backward pass runs on the thread that began it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils import _pytree as trees

from segvoc.layers.class_workers import map_in_workers

_Result = TypeVar("_Result")


def each_recomputed(
    function: Callable[..., _Result], chunks: Sequence[tuple[Tensor, ...]], shared: Sequence[Any], workers: int
) -> list[_Result]:
    """Call `function` with each of some chunks, now and again in the backward pass, by several threads.

    Args:
        function: gives tensors, or tuples and lists of them; see `AggregationContext.over`.
        chunks: the tensors of each chunk.
        shared: further arguments.
        workers: how many chunks are computed at a time.

    Returns:
        The results in the order of the chunks.
    """
    leaves, spec = trees.tree_flatten(tuple(shared))
    work = _Work(function, len(chunks), spec, leaves, tuple(_parameters((function, *leaves))), workers)
    of_chunks = [x for chunk in chunks for x in chunk]
    found = _Recomputed.apply(work, *of_chunks, *work.shared_tensors, *work.parameters)
    parts = _parted(cast(tuple[Tensor, ...], found), len(chunks))
    return [trees.tree_unflatten(part, cast(trees.TreeSpec, work.results)) for part in parts]


@dataclass
class _Work:
    """Calls of a function, which differ in the tensors of a chunk."""

    function: Callable[..., Any]
    chunks: int
    spec: trees.TreeSpec
    """How the leaves make up what is shared."""
    leaves: list[Any]
    parameters: tuple[Tensor, ...]
    workers: int
    results: trees.TreeSpec | None = None
    """How tensors make up a result; None: not known yet."""

    @property
    def shared_tensors(self) -> list[Tensor]:
        """The tensors among what is shared."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]

    def split(self, tensors: Sequence[Tensor]) -> tuple[list[Sequence[Tensor]], Sequence[Tensor], Sequence[Tensor]]:
        """The tensors of each chunk, those that are shared, and the parameters."""
        end = len(tensors) - len(self.parameters)
        start = end - len(self.shared_tensors)
        return _parted(tensors[:start], self.chunks), tensors[start:end], tensors[end:]

    def call(self, chunk: Sequence[Tensor], shared: Sequence[Tensor]) -> list[Tensor]:
        """The tensors of a chunk's result."""
        following = iter(shared)
        leaves = [next(following) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        found, self.results = trees.tree_flatten(self.function(*chunk, *trees.tree_unflatten(leaves, self.spec)))
        return found

    def gradients(
        self, chunk: Sequence[Tensor], shared: Sequence[Tensor], of_results: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Gradients of a chunk's tensors, of those that are shared, and of the parameters."""
        inputs = [x.detach().requires_grad_(x.requires_grad) for x in (*chunk, *shared)]
        found = self.call(inputs[: len(chunk)], inputs[len(chunk) :])
        ends = [(x, g) for x, g in zip(found, of_results, strict=True) if g is not None and x.requires_grad]
        every = [*inputs, *self.parameters]
        if not ends:
            return [None] * len(every)
        wanted = [x for x in every if x.requires_grad]
        results, gradients = zip(*ends, strict=True)
        given = iter(torch.autograd.grad(results, wanted, gradients, allow_unused=True))
        return [next(given) if x.requires_grad else None for x in every]


class _Recomputed(torch.autograd.Function):
    """The results of `_Work`, from the tensors of all chunks, those that are shared, and the parameters."""

    @staticmethod
    def forward(ctx: Any, work: _Work, *tensors: Tensor) -> tuple[Tensor, ...]:
        chunks, shared, _ = work.split(tensors)
        results = map_in_workers(work.call, [(chunk, shared) for chunk in chunks], work.workers)
        ctx.work, ctx.cast = work, (torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu"))
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)
        return tuple(x for result in results for x in result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_results: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        work = ctx.work
        chunks, shared, _ = work.split(ctx.saved_tensors)
        calls = [(chunk, shared, ends) for chunk, ends in zip(chunks, _parted(of_results, len(chunks)), strict=True)]
        with torch.enable_grad(), torch.autocast("cpu", *ctx.cast):
            found = map_in_workers(work.gradients, calls, work.workers)
        size = len(chunks[0])
        of_chunks = [gradient for gradients in found for gradient in gradients[:size]]
        summed = [_sum(parts) for parts in zip(*(gradients[size:] for gradients in found), strict=True)]
        return (None, *of_chunks, *summed)


def _sum(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    total = there[0].clone() if there else None
    for part in there[1:]:
        cast(Tensor, total).add_(part)
    return total


def _parted(values: Sequence[Any], parts: int) -> list[Sequence[Any]]:
    size = len(values) // parts
    return [values[start : start + size] for start in range(0, parts * size, size)]


def _parameters(used: Sequence[Any]) -> Iterator[Tensor]:
    """Parameters that need gradients, of modules and of those whose methods are used, each once."""
    owners = [one.__self__ if isinstance(one, MethodType) else one for one in used]
    modules = dict.fromkeys(owner for owner in owners if isinstance(owner, nn.Module))
    yield from dict.fromkeys(p for module in modules for p in module.parameters() if p.requires_grad)

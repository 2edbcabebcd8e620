"""The passes of a training step on a GPU: copied ahead, with stored activations where they fit, and as a CUDA graph."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from segvoc.errors import InputError
from segvoc.models.cuda_graphs import CapturedFunction, runs_python
from segvoc.runtime.distributed import Processes
from segvoc.training.loop import ForwardPass, Inputs, Losses, OnProblems, Passes, TrainingTask
from segvoc.training.objectives import TrainingObjective

PLAIN_STEPS = 3
"""Steps that run before one of the same shapes is recorded: libraries choose their kernels and workspaces in them."""


class CudaPasses(Passes):
    """Copies the next step's first batch while the GPU computes; runs passes as a CUDA graph.

    Steps with recomputation, several processes or passes, or compiled modules aren't recorded.
    """

    def __init__(self, task: TrainingTask, objective: TrainingObjective, processes: Processes) -> None:
        super().__init__(task, objective, processes)
        runtime = objective.recipe.runtime
        self._copies = torch.cuda.Stream(self.device)
        self._following: tuple[Iterator[Any], ForwardPass] | None = None
        """The loader, and the first pass of the next step."""
        self._ahead: tuple[Any, Inputs | None] | None = None
        """The next batch and its inputs; None for those of a batch without images."""
        self._trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self._is_fitted = False
        is_recorded = runtime.cuda_graph and not runtime.compile and self.accumulated * processes.count == 1
        self.recorded = RecordedPass(self._plain, objective, self._trained) if is_recorded else None

    def next_inputs(self, loader: Iterator[Any], number: ForwardPass, on_problems: OnProblems) -> Inputs:
        """The inputs of a batch that may have been copied ahead; the GPU waits for copies, this process doesn't."""
        (batch, inputs), self._ahead = self._ahead or (next(loader), None), None
        on_problems(batch.problems)
        if inputs is None:
            inputs = self.task.inputs(batch, number, self.device)
        stream = torch.cuda.current_stream(self.device)
        stream.wait_stream(self._copies)
        for tensor in inputs:
            if isinstance(tensor, Tensor):
                tensor.record_stream(stream)
        self._following = loader, (number[0] + 1, number[1], 0)
        return inputs

    def gradients(self, inputs: Inputs, *, is_last: bool) -> Losses:
        """Run a pass; before the first, see whether activations fit; after a step's last, copy the next batch ahead."""
        if not self._is_fitted:
            self.fit_memory(inputs)
            self._is_fitted = True
        if self.recorded is not None and not self.objective.recipe.runtime.recomputes:
            losses = self.recorded(inputs)
        else:
            losses = super().gradients(inputs, is_last=is_last)
        if is_last:
            self._copy_ahead()
        return losses

    def release(self) -> None:
        """Free the graph's memory for a validation."""
        if self.recorded is not None:
            self.recorded.release()

    def fit_memory(self, inputs: Inputs) -> None:
        """Where `activation_checkpointing` is "auto", store activations if those of this pass fit in all processes."""
        recipe = self.objective.recipe
        if recipe.runtime.activation_checkpointing == "auto":
            stored = replace(recipe.runtime, activation_checkpointing=False, class_chunk_size=0)
            self.objective.recipe = replace(recipe, runtime=stored)
            if not all(self.processes.gather(self._activations_fit(inputs))):
                self.objective.recipe = recipe

    def _activations_fit(self, inputs: Inputs) -> bool:
        """Whether free memory holds a pass's activations, by a forward pass that stores none and leaves no trace."""
        buffers = [(buffer, buffer.clone()) for buffer in self.objective.buffers()]
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        saved = SavedTensors(self.objective)
        try:
            with torch.random.fork_rng([self.device]), self.autocast(), saved:
                self.objective(*inputs)
        except torch.cuda.OutOfMemoryError:
            return False
        finally:
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)
        working = torch.cuda.max_memory_allocated(self.device) - before
        free, _ = torch.cuda.mem_get_info(self.device)
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        trained = sum(parameter.nbytes for parameter in self._trained)  # their gradients and moments have to fit, too
        # in the backward pass gradients of activations take about as much as the working memory of the forward pass
        return saved.bytes + 2 * working + 3 * trained < 0.9 * free  # a tenth stays free

    def _plain(self, *inputs: Any) -> Losses:
        return super().gradients(inputs, is_last=True)

    def _copy_ahead(self) -> None:
        if self._following is None or (batch := next(self._following[0], None)) is None:
            return
        inputs = None
        # a batch without images is refused in its own step
        with torch.cuda.stream(self._copies), suppress(InputError):
            inputs = self.task.inputs(batch, self._following[1], self.device)
        self._ahead = batch, inputs


class RecordedPass:
    """Steps of one pass each as a CUDA graph, after a few that run `plain`: losses and gradients of the objective."""

    def __init__(self, plain: Callable[..., Losses], objective: nn.Module, trained: Sequence[nn.Parameter]) -> None:
        self.plain, self.objective, self.trained = plain, objective, trained
        self._shapes: list[tuple[object, ...]] = []
        """Shapes of the last steps' inputs."""
        self.graph: CapturedFunction[Losses] | None = None
        """The recorded pass, of the last steps' shapes."""
        self._gradients: list[Tensor | None] = []
        self.fails = False
        """Whether PyTorch couldn't record a pass."""

    def __call__(self, inputs: Sequence[Any]) -> Losses:
        """Compute the losses and the gradients."""
        shapes = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in inputs)
        if self.fails or None in shapes or runs_python(self.objective):
            return self.plain(*inputs)
        if self._shapes != [shapes] * PLAIN_STEPS:
            self.release()
            self._shapes = [*self._shapes, shapes][-PLAIN_STEPS:]
            return self.plain(*inputs)
        if self.graph is None:
            self._capture(inputs)
        if self.graph is None:
            return self.plain(*inputs)
        losses = self.graph(*inputs)
        for parameter, gradient in zip(self.trained, self._gradients, strict=True):
            parameter.grad = gradient
        return losses

    def release(self) -> None:
        """Give up the graph and its memory, for example to validate the network; it is recorded again."""
        self.graph, self._gradients = None, []

    def _capture(self, inputs: Sequence[Tensor]) -> None:
        for parameter in self.trained:
            parameter.grad = None
        kept_casts = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # casts outside of the graph would be missing in it
        try:
            self.graph = CapturedFunction(self.plain, inputs)
        except RuntimeError:  # the objective waits for the GPU, or memory has run out
            self.fails = True
        finally:
            torch.set_autocast_cache_enabled(kept_casts)
        self._gradients = [parameter.grad for parameter in self.trained]
        for parameter in self.trained:
            parameter.grad = None


class SavedTensors(saved_tensors_hooks):
    """Counts what autograd would store in this block, and stores nothing: there can't be a backward pass.

    Tensors of a module and those that share memory count once.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(self._note, self._missing)
        self.bytes = 0
        self._seen: dict[int, StorageWeakRef] = {}
        for tensor in (*module.parameters(), *module.buffers()):
            self._is_new(tensor)

    def _is_new(self, tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        known = self._seen.get(storage.data_ptr())
        if known is not None and not known.expired():
            return False
        self._seen[storage.data_ptr()] = StorageWeakRef(storage)
        return True

    def _note(self, tensor: Tensor) -> None:
        if self._is_new(tensor):
            self.bytes += tensor.untyped_storage().nbytes()

    def _missing(self, _: None) -> Tensor:
        raise RuntimeError("activations were counted, not stored")

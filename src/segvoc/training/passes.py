"""The forward and backward pass of a training step: what it keeps in memory, and its CUDA graph."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from segvoc.models.cuda_graphs import CapturedFunction, runs_python
from segvoc.training.objectives.losses import TrainingObjective
from segvoc.training.recipe import Recipe

Losses = dict[str, Tensor]

PLAIN_STEPS = 3
"""Steps that run before one of the same shapes is recorded: libraries choose their kernels and workspaces in them."""

SPARE = 0.1
"""Share of the free memory that is left when activations are stored."""


def fit_memory(
    objective: TrainingObjective,
    inputs: Sequence[Any],
    autocast: AbstractContextManager[Any],
    trained: int,
    agreed: Callable[[bool], bool] = bool,
) -> None:
    """Before the first step: where `activation_checkpointing` is "auto", store activations on a GPU that has room.

    For the arguments see `stores_activations`; `agreed` maps whether they fit in this process to whether they fit in
    all.
    """
    recipe = objective.recipe
    if recipe.runtime.activation_checkpointing != "auto" or next(objective.parameters()).device.type != "cuda":
        return
    objective.recipe = without_recomputation(recipe)
    if not agreed(stores_activations(objective, inputs, autocast, trained)):
        objective.recipe = recipe


def without_recomputation(recipe: Recipe) -> Recipe:
    """The recipe with all activations stored, and classes in one chunk."""
    runtime = replace(recipe.runtime, activation_checkpointing=False, class_chunk_size=0)
    return replace(recipe, runtime=runtime)


def stores_activations(
    objective: nn.Module, inputs: Sequence[Any], autocast: AbstractContextManager[Any], trained: int
) -> bool:
    """Whether a GPU's free memory holds the activations of a step, by a forward pass that keeps none of them.

    Args:
        objective: maps the inputs to losses; it runs with random numbers of its own, and its buffers are restored.
        inputs: those of a step.
        autocast: the step's autocast.
        trained: bytes of the trained parameters, whose gradients and moments also have to fit.
    """
    device = next(objective.parameters()).device
    buffers = [(buffer, buffer.clone()) for buffer in objective.buffers()]
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    count = SavedTensors(objective)
    try:
        with torch.random.fork_rng([device]), autocast, count:
            objective(*inputs)
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
    working = torch.cuda.max_memory_allocated(device) - before
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    # in the backward pass gradients of activations take about as much as the working memory of the forward pass
    return count.bytes + 2 * working + 3 * trained < (1 - SPARE) * free


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


class StepPasses:
    """Forward and backward pass of steps with one pass each, from a few plain ones on as a CUDA graph.

    Args:
        objective: maps the inputs to losses; "loss" is minimized.
        autocast: makes the autocast of the forward pass.
        scaler: scales the loss.
        trained: the parameters that get gradients.
    """

    def __init__(
        self,
        objective: nn.Module,
        autocast: Callable[[], AbstractContextManager[Any]],
        scaler: torch.amp.GradScaler,
        trained: Sequence[nn.Parameter],
    ) -> None:
        self.objective, self.autocast, self.scaler, self.trained = objective, autocast, scaler, trained
        self._shapes: list[tuple[object, ...]] = []
        """Shapes of the last steps' inputs."""
        self._captured: CapturedFunction[Losses] | None = None
        self._gradients: list[Tensor | None] = []
        self.fails = False
        """Whether PyTorch couldn't record a step."""

    def __call__(self, inputs: Sequence[Any]) -> Losses:
        """Compute the losses and the gradients."""
        shapes = tuple((x.shape, x.dtype) if isinstance(x, Tensor) else None for x in inputs)
        if self.fails or None in shapes or runs_python(self.objective):
            return self.plain(*inputs)
        if self._shapes != [shapes] * PLAIN_STEPS:
            self.release()
            self._shapes = [*self._shapes, shapes][-PLAIN_STEPS:]
            return self.plain(*inputs)
        if self._captured is None and not self._capture(inputs):
            return self.plain(*inputs)
        assert self._captured is not None
        losses = self._captured(*inputs)
        for parameter, gradient in zip(self.trained, self._gradients, strict=True):
            parameter.grad = gradient
        return losses

    @property
    def is_recorded(self) -> bool:
        """Whether a graph of the last steps' shapes exists."""
        return self._captured is not None

    def release(self) -> None:
        """Give up the graph and its memory, for example to validate the network; it is recorded again."""
        self._captured, self._gradients = None, []

    def _capture(self, inputs: Sequence[Tensor]) -> bool:
        for parameter in self.trained:
            parameter.grad = None
        kept_casts = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # casts outside of the graph would be missing in it
        try:
            self._captured = CapturedFunction(self.plain, inputs)
        except RuntimeError:  # the objective waits for the GPU, or memory has run out
            self.fails = True
        finally:
            torch.set_autocast_cache_enabled(kept_casts)
        self._gradients = [parameter.grad for parameter in self.trained]
        for parameter in self.trained:
            parameter.grad = None
        return not self.fails

    def plain(self, *inputs: Any) -> Losses:
        """Compute both by the code as it is."""
        with self.autocast():
            losses = self.objective(*inputs)
        self.scaler.scale(losses["loss"]).backward()
        return {name: value.detach() for name, value in losses.items()}

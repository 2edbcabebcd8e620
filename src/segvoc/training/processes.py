"""One process or many: who takes which share, and what all must agree on."""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from segvoc.errors import UsageError
from segvoc.training.objectives.captions import CaptionObjective
from segvoc.training.objectives.segmentation import AnyObjective

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


@dataclass(frozen=True)
class Processes:
    """This process among all that train together."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and talks."""
        return self.rank == 0

    def any(self, *flags: bool | float, device: torch.device) -> list[bool]:
        """For each flag, whether it is raised in any process."""
        raised = torch.tensor([float(flag) for flag in flags], device=device)
        if self.count > 1:
            dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def mean(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Scalars, averaged over all processes."""
        stacked = torch.stack([value.detach().float() for value in values.values()])
        if self.count > 1:
            dist.all_reduce(stacked)
        return dict(zip(values, (stacked / self.count).tolist(), strict=True))

    def gathered(self, value: Any) -> list[Any]:
        """A value of every process, the same everywhere."""
        if self.count == 1:
            return [value]
        everyone: list[Any] = [None] * self.count
        dist.all_gather_object(everyone, value)
        return everyone


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """The processes that `torchrun` has started, or this one alone."""
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Processes()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def wrap_distributed(objective: AnyObjective | CaptionObjective, processes: Processes) -> nn.Module:
    """The objective as all processes run it: copies (DDP), or one in shards (FSDP2)."""
    recipe = objective.recipe
    if recipe.parallel == "fsdp":
        if not dist.is_initialized():
            raise UsageError("parallel=fsdp needs several processes; start them with torchrun")
        # parts whose weights are read by their own `forward` alone; a single number can't be split (`complete`)
        numbers = {parameter for parameter in objective.parameters() if not parameter.ndim}
        for part in (*getattr(objective.network.aggregation, "blocks", ()), objective.network.text_encoder):
            fully_shard(part, ignored_params=numbers)
        fully_shard(objective, ignored_params=numbers)
        return objective
    if processes.count == 1:
        return objective
    # what no loss depends on (queries of a block that reads values alone) gets no gradient
    return DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=True)


def last_pass_only(module: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Gradients go round in the last of several passes only."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(last)
        return nullcontext()
    return nullcontext() if last or not isinstance(module, DistributedDataParallel) else module.no_sync()


def reduce_gradients(parameters: Iterable[nn.Parameter], processes: Processes, *, in_shards: bool) -> None:
    """Gradients as the optimiser is to see them: of all processes, and zero where no loss depends on a parameter.

    In the released code what no loss depends on has gradients of zero, too, and decays. With shards the gradients of
    single numbers, which aren't split, are still those of each process.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        elif in_shards and not parameter.ndim:
            dist.all_reduce(parameter.grad)
            parameter.grad /= processes.count


def clip(parameters: list[nn.Parameter], limit: float) -> Tensor:
    """Scale the gradients so that their common norm is at most `limit` (0: leave them); the norm before."""
    norm = nn.utils.clip_grad_norm_(parameters, limit or float("inf"), foreach=True)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # pyright: ignore[reportAttributeAccessIssue]


def full_state_dict(module: nn.Module, optimizer: Optimizer | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and the optimiser's state, whole, by names; with shards every process must ask."""
    weights = get_model_state_dict(module, options=_WHOLE)
    return weights, {} if optimizer is None else get_optimizer_state_dict(module, optimizer, options=_WHOLE)


def load_full_state_dict(
    module: nn.Module, optimizer: Optimizer, weights: dict[str, Any], state: dict[str, Any]
) -> None:
    """Put back what `full_state_dict` gave."""
    set_model_state_dict(module, weights, options=StateDictOptions(full_state_dict=True, strict=False))
    set_optimizer_state_dict(module, optimizer, state, options=StateDictOptions(full_state_dict=True))

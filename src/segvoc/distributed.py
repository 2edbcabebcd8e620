"""Single-process runs and runs under `torchrun`: sharing work, collective operations, DDP and FSDP2.

Training and evaluation both run in the process group opened by `join_processes`.
"""

import gc
import inspect
import itertools
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from packaging.version import Version
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from segvoc.errors import UsageError

T = TypeVar("T")

SHARDS = Version(torch.__version__) >= Version("2.7")
"""Whether this PyTorch can exclude scalars from sharding, as `wrap_distributed` needs."""

_groups = itertools.count()
"""Counter of opened process groups. `torchrun`'s store outlives a group: without a new prefix, the next group would
read the closed addresses of the last."""

COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""Timeout of collective operations, also used by NCCL's watchdog: after it, a deadlock is an error."""

UNEVEN_TIMEOUT = timedelta(days=7)
"""How long a rank waits for others after uneven work: downloads, shares of the feature cache or of the images to
evaluate. Crashes need no timeout: `torchrun` stops the other processes.
"""


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the world size. All processes share a file system."""

    rank: int = 0
    """Rank of this process, from 0."""
    count: int = 1
    """Number of processes (world size)."""
    store: Any = field(default=None, compare=False, repr=False)
    """The key-value store (`torch.distributed.Store`) of the process group, in which ranks wait for one another."""

    @classmethod
    def from_environment(cls) -> "Processes":
        """Read RANK and WORLD_SIZE as set by `torchrun`; a single process if they are not set.

        Raises:
            UsageError: their values are not consistent numbers.
        """
        rank, count = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if "WORLD_SIZE" not in os.environ:
            return cls()
        if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
            raise UsageError(f"RANK={rank!r} and WORLD_SIZE={count!r} are inconsistent; let torchrun set them")
        return cls(int(rank), int(count))

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """This process's share of the items: every `count`-th."""
        return list(items[self.rank :: self.count])

    def own_device(self, device: str) -> str:
        """Assign each local process its GPU, unless the user named a device.

        Args:
            device: the requested device: "auto", "cpu", "cuda", "cuda:1", ...
        """
        if self.count == 1 or device not in ("auto", "cuda") or not torch.cuda.is_available():
            return device
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.rank)) % torch.cuda.device_count()}"

    def any(self, *flags: bool | float, device: torch.device) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.count == 1:
            return [bool(flag) for flag in flags]  # without a device sync
        raised = torch.tensor([float(flag) for flag in flags], device=device)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, float]:
        """Average scalars by name over all processes, with one device sync."""
        stacked = torch.stack([value.detach().float() for value in values.values()])
        if self.count > 1:
            dist.all_reduce(stacked)
        return dict(zip(values, (stacked / self.count).tolist(), strict=True))

    def total(self, values: Tensor) -> Tensor:
        """Sum over all processes, in place, without a device sync."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: T) -> list[T]:
        """All-gather: the values of all processes by rank."""
        if self.count == 1:
            return [value]
        self.wait_for_all()
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wait_for_all(self) -> None:
        """Barrier after work of very uneven length.

        Raises: torch.distributed.DistStoreError: a process didn't arrive within `UNEVEN_TIMEOUT`.
        """
        if self.store is None:
            return
        arrived = self.store.add("arrived", 1)
        everyone = f"all arrived, time {(arrived - 1) // self.count + 1}"
        if arrived % self.count == 0:
            self.store.set(everyone, "yes")
        self.store.wait([everyone], UNEVEN_TIMEOUT)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Broadcast tensors from rank 0, in place."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def available_cores() -> int:
    """CPU cores per process: the available cores divided among all processes on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


@contextmanager
def join_processes(backend: Literal["gloo", "nccl"]) -> Iterator[Processes]:
    """Open the process group of all processes started by `torchrun`; without it, just this process.

    At the end of the block the group is destroyed. The block must not leave a module from `wrap_distributed` in a
    variable: it would keep the group and its threads, which may then crash as the interpreter shuts down.

    Args:
        backend: "nccl" to reduce GPU tensors, otherwise "gloo".

    Raises:
        UsageError: RANK and WORLD_SIZE are inconsistent.
    """
    processes = Processes.from_environment()
    if processes.count == 1:
        yield processes
        return
    store, rank, count = next(rendezvous("env://", timeout=UNEVEN_TIMEOUT))
    own = PrefixStore(f"segvoc group {next(_groups)}", store)
    processes = replace(processes, store=own)
    processes.wait_for_all()
    dist.init_process_group(backend, store=own, rank=rank, world_size=count, timeout=COLLECTIVE_TIMEOUT)
    try:
        yield processes
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # their variables hold wrapped modules, too
        raise
    finally:
        gc.collect()  # wrapped modules are in reference cycles
        dist.destroy_process_group()


def wrap_distributed(
    module: nn.Module, processes: Processes, *, parallel: Literal["ddp", "fsdp"], shards: Iterable[nn.Module] = ()
) -> nn.Module:
    """Wrap a module for distributed training: replicated (DDP) or sharded (FSDP2).

    Args:
        module: the module to train, with the same weights in every process.
        processes: all processes.
        parallel: "ddp" or "fsdp".
        shards: for FSDP, the submodules to gather one at a time; only their `forward` may read their weights.

    Raises:
        UsageError: FSDP was requested without a process group, or with PyTorch 2.6.
    """
    if parallel == "fsdp":
        if not dist.is_initialized():
            raise UsageError("parallel=fsdp needs several processes; start them with torchrun")
        if not SHARDS:
            raise UsageError("parallel=fsdp needs PyTorch 2.7 or newer; upgrade it, or use parallel=ddp")
        from torch.distributed.fsdp import fully_shard  # here, since it takes a second to import

        # FSDP2 can't shard scalar parameters; `reduce_gradients` handles them
        scalars = {parameter for parameter in module.parameters() if not parameter.ndim}
        for shard in shards:
            fully_shard(shard, ignored_params=scalars)
        fully_shard(module, ignored_params=scalars)
        return module
    if processes.count == 1:
        return module
    # `broadcast_buffers` is deprecated since PyTorch 2.13
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    sync_buffers: dict[str, Any] = {name: False}
    # some parameters get no gradient, for example queries where a block only uses the values
    return DistributedDataParallel(module, find_unused_parameters=True, **sync_buffers)


def sync_gradients_if(module: nn.Module, last: bool) -> AbstractContextManager[Any]:
    """Gradient accumulation: synchronize gradients only in the last forward and backward pass."""
    if isinstance(module, DistributedDataParallel):
        return nullcontext() if last else module.no_sync()
    if hasattr(module, "set_requires_gradient_sync"):
        module.set_requires_gradient_sync(last)  # pyright: ignore[reportCallIssue]
    return nullcontext()


def reduce_gradients(parameters: Iterable[nn.Parameter], processes: Processes, *, sharded: bool) -> None:
    """Complete the gradients before the optimizer step.

    A parameter that no loss depends on gets a zero gradient, so that weight decay applies to it, as in the released
    code. With FSDP, scalar parameters are not sharded, and their gradients are averaged here.
    """
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        elif sharded and not parameter.ndim:
            dist.all_reduce(parameter.grad)
            parameter.grad /= processes.count


def clip_gradients(parameters: list[nn.Parameter], limit: float) -> Tensor:
    """Clip the global gradient norm to `limit` (0: no clipping); returns the norm before clipping."""
    norm = nn.utils.clip_grad_norm_(parameters, limit or float("inf"), foreach=True)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # pyright: ignore[reportAttributeAccessIssue]


def full_state_dict(module: nn.Module, optimizer: Optimizer | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and optimizer state by name, gathered from all shards; with FSDP every process must call this."""
    from torch.distributed.checkpoint import state_dict as states  # here, since it takes seconds to import

    options = states.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = states.get_model_state_dict(module, options=options)
    return weights, {} if optimizer is None else states.get_optimizer_state_dict(module, optimizer, options=options)


def load_full_state_dict(
    module: nn.Module, optimizer: Optimizer, weights: dict[str, Any], state: dict[str, Any]
) -> None:
    """Load a state from `full_state_dict`; weights missing from `weights` are left unchanged."""
    from torch.distributed.checkpoint import state_dict as states  # here, since it takes seconds to import

    if not SHARDS:  # this PyTorch requires every weight, even with strict=False
        weights = states.get_model_state_dict(module) | weights
    options = states.StateDictOptions(full_state_dict=True, strict=False)
    states.set_model_state_dict(module, weights, options=options)
    states.set_optimizer_state_dict(module, optimizer, state, options=states.StateDictOptions(full_state_dict=True))

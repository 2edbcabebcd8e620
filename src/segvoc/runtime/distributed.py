"""Single-process runs and runs under `torchrun`: sharing work, collective operations and DDP."""

import gc
import inspect
import itertools
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from segvoc.errors import SegvocError, UsageError
from segvoc.runtime.process_settings import cores

T = TypeVar("T")

_groups = itertools.count()
"""Counter of opened process groups. `torchrun`'s store outlives a group: without a new prefix, the next group would
read the closed addresses of the last."""

UNEVEN_TIMEOUT = timedelta(days=7)
"""How long a rank waits for others after uneven work: downloads, shares of the feature cache or of the images to
evaluate. Crashes need no timeout: `torchrun` stops the other processes.
"""


@dataclass(frozen=True)
class Processes:
    """The rank of this process and the world size. All processes share a file system."""

    rank: int = 0
    count: int = 1
    """Number of processes (world size)."""
    store: Any = field(default=None, compare=False, repr=False)
    """The key-value store (`torch.distributed.Store`) of the process group, in which ranks wait for one another."""

    @classmethod
    def from_environment(cls) -> "Processes":
        """Read RANK and WORLD_SIZE, as set by `torchrun` (`UsageError` if inconsistent); a single process without."""
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
        """Assign each local process its GPU, unless the user named a device: "cpu", "cuda:1", ..."""
        if self.count == 1 or device not in ("auto", "cuda") or not torch.cuda.is_available():
            return device
        return f"cuda:{int(os.environ.get('LOCAL_RANK', self.rank)) % torch.cuda.device_count()}"

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

    def on_first(self, work: Callable[[], T]) -> T | None:
        """Run `work` on rank 0 and return its result there. If it fails, the other ranks exit; rank 0 says why."""
        result, error = None, None
        if self.first:
            try:
                result = work()
            except SegvocError as failure:
                error = failure
        failed = self.gather(error is not None)[0]
        if error is not None:
            raise error
        if failed:
            raise SystemExit(2)
        return result

    def wait_for_all(self) -> None:
        """Barrier after work of uneven length; `DistStoreError` if a process doesn't arrive within `UNEVEN_TIMEOUT`."""
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
    return max(1, cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


@contextmanager
def join_processes(backend: Literal["gloo", "nccl"]) -> Iterator[Processes]:
    """Open the process group of all processes started by `torchrun`; without it, just this process.

    At the end of the block the group is destroyed. The block must not leave a module from `wrap_distributed` in a
    variable: it would keep the group and its threads, which may then crash as the interpreter shuts down. The backend
    "nccl" reduces GPU tensors. `UsageError` if RANK and WORLD_SIZE are inconsistent.
    """
    processes = Processes.from_environment()
    if processes.count == 1:
        yield processes
        return
    store, rank, count = next(rendezvous("env://", timeout=UNEVEN_TIMEOUT))
    group_store = PrefixStore(f"segvoc group {next(_groups)}", store)
    processes = replace(processes, store=group_store)
    processes.wait_for_all()
    # NCCL's watchdog uses it, too: after it, a deadlock is an error
    timeout = timedelta(minutes=30)
    dist.init_process_group(backend, store=group_store, rank=rank, world_size=count, timeout=timeout)
    try:
        yield processes
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)  # their variables hold wrapped modules, too
        raise
    finally:
        gc.collect()  # wrapped modules are in reference cycles
        dist.destroy_process_group()


def wrap_distributed(module: nn.Module, processes: Processes) -> nn.Module:
    """Replicate a module, whose weights are the same in every process, for distributed training."""
    if processes.count == 1:
        return module
    # `broadcast_buffers` is deprecated since PyTorch 2.13
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    sync_buffers: dict[str, Any] = {name: False}
    # some parameters get no gradient, for example queries where a block only uses the values; the search for them takes
    # 1 % of a step of pca-seg-b on an H200
    return DistributedDataParallel(module, find_unused_parameters=True, **sync_buffers)

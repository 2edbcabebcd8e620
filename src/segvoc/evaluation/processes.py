"""Several processes that share one evaluation, as `torchrun` starts them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch.distributed

from segvoc.errors import UsageError

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""How long the first process waits for the slowest one."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among `number`; all of them see the same files."""

    rank: int = 0
    number: int = 1

    @classmethod
    def from_environment(cls) -> "Processes":
        """As `torchrun` tells: RANK and WORLD_SIZE; one process where they are not set.

        Raises: UsageError: they are no numbers that fit together.
        """
        rank, number = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
        if not (rank.isdecimal() and number.isdecimal() and int(rank) < int(number)):
            raise UsageError(f"RANK={rank!r} and WORLD_SIZE={number!r} don't fit together; let torchrun set them")
        return cls(rank=int(rank), number=int(number))

    def share(self, chunks: Sequence[T]) -> list[T]:
        """What this process does of the whole: every `number`-th."""
        return list(chunks[self.rank :: self.number])

    def gathered(self, value: T) -> list[T] | None:
        """Wait for all processes; the first gets what each of them gave, the others None."""
        if self.number == 1:
            return [value]
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group("gloo", rank=self.rank, world_size=self.number, timeout=PATIENCE)
        values: list[T] | None = [value] * self.number if self.rank == 0 else None
        torch.distributed.gather_object(value, values)
        return values

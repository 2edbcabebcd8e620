"""What a network trains on: an endless row of changed pictures, the same for any number of processes and workers."""

import hashlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import forkserver
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segvoc.data.labelled_images import LabelledImages
from segvoc.data.training.augmentations import Augmentation
from segvoc.errors import InputError
from segvoc.imaging.label_maps import UNLABELLED
from segvoc.vocabulary import Vocabulary

Sample = TypeVar("Sample")
Batch = TypeVar("Batch")

IGNORED = UNLABELLED
"""Label of a pixel that nothing is known of."""


class TrainingSample(NamedTuple):
    """A picture at a place of the row; problems: what those pictures say that could not be read and were passed over.

    Where none can be read, S is 0.
    """

    image: UInt8[Tensor, "3 S S"]
    labels: Int[Tensor, "*maps S S"]
    problems: tuple[str, ...]


class TrainingBatch(NamedTuple):
    """Several of them."""

    images: UInt8[Tensor, "B 3 S S"]
    labels: Int[Tensor, "B *maps S S"]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingSet(Dataset[TrainingSample]):
    """Pictures in an order that the seed tells, each pass over all of them in another one.

    Place p of the row holds picture number p modulo N of pass p // N; its changes are drawn by (seed, p). Nothing
    depends on who reads it, or on what was read before.

    The background, where there is one, is no class: its pixels get the label `len(vocabulary)`, which no class has.
    swap_sides: in a mirror image the "left door" is the "right door", where both are classes.
    """

    pictures: LabelledImages
    augmentation: Augmentation
    seed: int
    swap_sides: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes that are learnt."""
        every, background = self.pictures.vocabulary, self.pictures.background
        return every if background is None else every.without(background)

    def __getitem__(self, place: int) -> TrainingSample:
        """The picture at a place of the row; in place of one that can't be read the next of its pass."""
        count = len(self.pictures)
        order = pass_order(count, self.seed, place // count)
        problems: list[str] = []
        for offset in range(count):
            try:
                image, labels = self.read(int(order[(place + offset) % count]))
            except InputError as error:
                problems.append(str(error))
                continue
            generator = torch.Generator().manual_seed(seed_of(self.seed, "changes", place))
            pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
            sides = {"swap_sides": self.with_other_sides} if self.swap_sides else {}
            changed = self.augmentation(pixels, labels, generator, **sides)
            return TrainingSample(changed[0].contiguous(), changed[1].contiguous(), tuple(problems))
        # no exception: one that comes out of a worker has lost its type and brings its traceback along
        return TrainingSample(torch.empty(3, 0, 0, dtype=torch.uint8), torch.empty(0, 0).int(), tuple(problems))

    def read(self, index: int) -> tuple[np.ndarray, Int[Tensor, "*maps H W"]]:
        """The picture at a position, and its labels as the network has its classes.

        Raises:
            InputError: see `LabelledImage.read`.
        """
        image, labels = self.pictures.read(index)
        return image, self._learnt(labels)

    def names_of_maps(self) -> tuple[Sequence[str], ...]:
        """For each label map of a picture what its labels stand for."""
        return (self.vocabulary.words,)

    def with_other_sides(self, labels: Int[Tensor, "*maps H W"]) -> Int[Tensor, "*maps H W"]:
        """The labels as they are in the mirror."""
        labels = labels.clone()
        for names, part in zip(self.names_of_maps(), labels.reshape(-1, *labels.shape[-2:]), strict=True):
            before = part.clone()
            for label, other in other_sides(names).items():
                part[before == label] = other
        return labels

    def _learnt(self, labels: np.ndarray) -> Int[Tensor, "H W"]:
        """Labels as the network has its classes."""
        table = np.full(UNLABELLED + 1, IGNORED, np.int32)
        learnt = self.vocabulary.words
        for label, name in enumerate(self.pictures.vocabulary.words):
            table[label] = len(learnt) if name == self.pictures.background else learnt.index(name)
        return torch.from_numpy(table[labels])


_SIDES = {"left": "right", "right": "left"}


def other_sides(names: Sequence[str]) -> dict[int, int]:
    """For each name with left or right in it the one that stands for the other side, where there is one; as places."""
    swapped = (re.sub(r"\b(left|right)\b", lambda side: _SIDES[side[0]], name) for name in names)
    places = {name: place for place, name in enumerate(names)}
    return {place: places[other] for place, other in enumerate(swapped) if places.get(other, place) != place}


@dataclass(frozen=True, kw_only=True)
class ShardedSampler:
    """The places of a process's batches: of every `batch` places the `rank`-th of `ranks` shares, in `passes` parts."""

    batch: int
    passes: int
    rank: int
    ranks: int
    first_step: int
    steps: int

    def __iter__(self) -> Iterator[list[int]]:
        """The places of each forward pass."""
        share, part = self.batch // self.ranks, self.batch // self.ranks // self.passes
        for step in range(self.first_step, self.steps):
            start = step * self.batch + self.rank * share
            for number in range(self.passes):
                yield list(range(start + number * part, start + (number + 1) * part))

    def __len__(self) -> int:
        """How many forward passes."""
        return (self.steps - self.first_step) * self.passes


def batches(pictures: TrainingSet, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[TrainingBatch]:
    """The batches at these places, read by so many workers (0: by this process)."""
    return read_ahead(pictures, sampler, _together, workers, pinned=pinned)


def read_ahead(
    row: Dataset[Sample],
    sampler: ShardedSampler,
    together: Callable[[Sequence[Sample]], Batch],
    workers: int,
    *,
    pinned: bool,
) -> Iterator[Batch]:
    """The batches that samples of a row make together, read by so many workers (0: by this process)."""
    if workers:
        _start_forkserver()
    loader = DataLoader(
        row,
        batch_sampler=cast(list, sampler),
        num_workers=workers,
        collate_fn=together,
        pin_memory=pinned,
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_on_its_own,
    )
    return cast(Iterator[Batch], iter(loader))


def _on_its_own(worker: int) -> None:
    """A reader hears nothing of what stops the run's group, which ends its step first; it leaves with the run."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    threading.Thread(target=_leave_with_run, daemon=True).start()


def _leave_with_run() -> None:
    if (run := multiprocessing.parent_process()) is not None:
        run.join()
        os._exit(1)


def _start_forkserver() -> None:
    """Start the process that forks readers, without an ear for SIGTERM: readers leave when it is gone."""
    if threading.current_thread() is not threading.main_thread():
        return  # Python lets only the main thread set signals
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@lru_cache(maxsize=4)
def pass_order(count: int, seed: int, turn: int) -> Int[Tensor, " N"]:
    """The pictures of a pass over all of them. Kept, since making it takes as long as reading a picture."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, "order", turn)))


def _together(samples: Sequence[TrainingSample]) -> TrainingBatch:
    problems = tuple(problem for sample in samples for problem in sample.problems)
    return TrainingBatch(
        torch.stack([sample.image for sample in samples]), torch.stack([sample.labels for sample in samples]), problems
    )


def seed_of(*parts: int | str) -> int:
    """A number of 63 bits for a purpose, a place and so on: no two of a run are alike or near."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1

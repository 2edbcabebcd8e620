"""Training samples: an endless sequence of augmented images, the same for any number of processes and workers."""

import hashlib
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from multiprocessing import queues
from typing import NamedTuple, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segvoc.data.labeled_images import LabeledImage, LabeledImages
from segvoc.data.training.augmentations import Augmentation, OwnTransform
from segvoc.encoders.prompts import PartNames
from segvoc.errors import InputError, ProcessError, SegvocError, UsageError
from segvoc.imaging.label_maps import UNLABELED
from segvoc.runtime.process_settings import WORKER_START, exit_when_parent_dies, interrupts_ignored
from segvoc.runtime.progress import print_line
from segvoc.vocabulary import Vocabulary

_Sample = TypeVar("_Sample")
_Batch = TypeVar("_Batch")

IGNORED = UNLABELED
"""Label of unlabeled pixels."""

NONE = UNLABELED + 1
"""Label of a pixel without a part or a learned object; not a class, and the largest label of a sample."""


POLL_SECONDS = 1.0
"""How often a wait for data looks whether a worker has died or a signal has arrived [s]."""

LAST_BATCH = 10.0
"""After a signal, how long to wait for a batch, so that its step and a checkpoint can end the run [s]."""

_NO_SHARED_MEMORY = 28
"""Exit code of a worker whose batch doesn't fit into shared memory."""


class TrainingSample(NamedTuple):
    """An augmented image with its labels."""

    image: UInt8[Tensor, "3 S S"]
    """RGB in [0, 255]; S is 0 if no image of the set can be read."""
    labels: Int[Tensor, "*maps S S"]
    problems: tuple[str, ...]
    """A line per unreadable image that was skipped."""


class TrainingBatch(NamedTuple):
    """Several samples, stacked."""

    images: UInt8[Tensor, "B 3 S S"]
    labels: Int[Tensor, "B *maps S S"]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingSet(Dataset[TrainingSample]):
    """An endless sequence of augmented images, in an order that the seed determines; each epoch has its own order.

    Position p holds image number p modulo N of epoch p // N, augmented by a generator seeded with (seed, p). A sample
    depends neither on the worker nor on earlier samples.

    The background, if any, is not a class: its pixels get the label `len(vocabulary)`.
    """

    images: LabeledImages
    augmentation: Augmentation
    seed: int
    """Determines the order and all augmentations."""
    transform: OwnTransform | None = None
    """The user's transform, applied before the augmentation."""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The classes to learn."""
        every, background = self.images.vocabulary, self.images.background
        return every if background is None else every.without(background)

    def __getitem__(self, position: int) -> TrainingSample:
        """Read the sample at a position; unreadable images are replaced by the next in the epoch."""
        count = len(self.images)
        order = epoch_order(count, self.seed, position // count)
        problems: list[str] = []
        for offset in range(count):
            try:
                image, labels = self.read(int(order[(position + offset) % count]))
            except InputError as error:
                problems.append(str(error))
                continue
            if self.transform is not None:
                image, labels = self._transformed(self.transform, image, labels, position)
            generator = torch.Generator().manual_seed(seed_of(self.seed, "changes", position))
            pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
            sides = {"swap_sides": self.with_other_sides} if self.augmentation.swap_left_right else {}
            pixels, labels = self.augmentation(pixels, labels, generator, **sides)
            return TrainingSample(pixels.contiguous(), labels.contiguous(), tuple(problems))
        # not an exception, which would lose its type in a worker
        return TrainingSample(torch.empty(3, 0, 0, dtype=torch.uint8), torch.empty(0, 0).int(), tuple(problems))

    def read(self, index: int) -> tuple[np.ndarray, Int[Tensor, "*maps H W"]]:
        """Read an image, and its labels as indices of the classes to learn."""
        image, labels = self.images.images[index].read(len(self.images.vocabulary))
        return image, torch.from_numpy(self._label_table[labels])

    def _transformed(
        self, transform: OwnTransform, image: np.ndarray, labels: Int[Tensor, "*maps H W"], position: int
    ) -> tuple[np.ndarray, Int[Tensor, "*maps h w"]]:
        rng = np.random.default_rng(seed_of(self.seed, "transform", position))
        # copies, which the transform may modify
        maps = (labels.movedim(0, -1) if labels.ndim == 3 else labels).numpy().copy()
        classes = tuple(map(len, self.names_of_maps()))
        image, maps = transform(np.array(image), maps, rng, self.no_classes, classes)
        found = torch.from_numpy(np.ascontiguousarray(maps))
        return image, found.movedim(-1, 0) if found.ndim == 3 else found

    @property
    def no_classes(self) -> frozenset[int]:
        """Labels that aren't classes to learn."""
        background = () if self.images.background is None else (len(self.vocabulary),)
        return frozenset((IGNORED, *background))

    def names_of_maps(self) -> tuple[Sequence[str], ...]:
        """The class names of each label map of a sample."""
        return (self.vocabulary.words,)

    def with_other_sides(self, labels: Int[Tensor, "*maps H W"]) -> Int[Tensor, "*maps H W"]:
        """Swap left and right in the labels, for a mirrored image."""
        maps = labels.reshape(-1, *labels.shape[-2:])
        swapped = [table[label_map.long()] for table, label_map in zip(self._swap_tables, maps, strict=True)]
        return torch.stack(swapped).reshape(labels.shape).to(labels.dtype)

    @cached_property
    def _label_table(self) -> Int[np.ndarray, " N"]:
        """The class to learn for each label of the label maps."""
        table = np.full(UNLABELED + 1, IGNORED, np.int32)
        learned = {name: label for label, name in enumerate(self.vocabulary.words)}
        for label, name in enumerate(self.images.vocabulary.words):
            table[label] = len(learned) if name == self.images.background else learned[name]
        return table

    @cached_property
    def _swap_tables(self) -> list[Int[Tensor, " N"]]:
        """For each label map of a sample, the label of the other side for each label."""
        tables = [torch.arange(NONE + 1, dtype=torch.int32) for _ in self.names_of_maps()]
        for table, names in zip(tables, self.names_of_maps(), strict=True):
            for label, other in other_sides(names).items():
                table[label] = other
        return tables


_SIDES = {"left": "right", "right": "left"}


def other_sides(names: Sequence[str]) -> dict[int, int]:
    """For each name with the word "left" or "right", the name of the other side if there is one; both as indices.

    Names are compared by their words, in any spelling: "Left arm", "left_arm", "left-arm", "leftArm".
    """
    same_words: dict[tuple[str, ...], list[int]] = {}
    for index, name in enumerate(names):
        apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
        same_words.setdefault(tuple(re.findall(r"\d+|[^\W\d_]+", apart.lower())), []).append(index)
    pairs: dict[int, int] = {}
    for words, indices in same_words.items():
        swapped = tuple(_SIDES.get(word, word) for word in words)
        if swapped != words:
            pairs |= zip(indices, same_words.get(swapped, []), strict=False)
    return pairs


@dataclass(frozen=True, kw_only=True)
class ShardedSampler:
    """The positions that a process reads in a forward pass: its share of a batch, split for gradient accumulation."""

    batch: int
    """Samples per optimizer step, of all processes together."""
    passes: int
    """Forward passes per step (gradient accumulation)."""
    rank: int
    ranks: int
    """Number of processes (world size)."""
    first_step: int
    """More than 0 if training is resumed."""
    steps: int
    """The step after the last one."""

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch // self.ranks
        size = share // self.passes
        for step in range(self.first_step, self.steps):
            start = step * self.batch + self.rank * share
            for number in range(self.passes):
                yield list(range(start + number * size, start + (number + 1) * size))

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.passes


def read_ahead(
    dataset: Dataset[_Sample],
    sampler: Iterable[Sequence[object]],
    collate: Callable[[Sequence[_Sample]], _Batch],
    workers: int,
    *,
    pinned: bool,
    signals: Sequence[int] = (),
) -> Iterator[_Batch]:
    """Read the batches of a data set with PyTorch's data loader; `ProcessError` if a worker process is killed.

    `sampler` gives the indices of each batch. `workers` processes read them (0: this process); they start now, and
    their errors are raised again in one line. `pinned` copies the batches to pinned memory, for a GPU. Once `signals`,
    to which the caller's handlers append, isn't empty, the process ends if no batch comes within `LAST_BATCH` seconds.
    """
    if workers and WORKER_START == "forkserver":
        from multiprocessing import forkserver  # not for Windows

        # the workers' fork server ignores SIGTERM; they exit with it
        with interrupts_ignored(signal.SIGTERM):
            forkserver.ensure_running()
    loader = DataLoader(
        dataset,
        batch_sampler=cast(list, sampler),
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pinned,
        multiprocessing_context=WORKER_START if workers else None,
        worker_init_fn=_isolate_worker,
        # for the workers' seeds: drawing them from the global generator would change dropout after a resume
        generator=torch.Generator(),
    )
    if not workers:
        return iter(loader)
    loader.timeout = POLL_SECONDS
    return _naming_killed_readers(iter(loader), signals)


def _naming_killed_readers(batches: Iterator[_Batch], signals: Sequence[int]) -> Iterator[_Batch]:
    try:
        while True:
            try:
                batch = _next_batch(batches, signals)
            except StopIteration:
                return
            yield batch
            del batch
    except SegvocError as error:
        # the message includes the worker's traceback; its last line is the error
        raise type(error)(str(error).rstrip().rpartition("\n")[2].partition(": ")[2]) from None
    except (RuntimeError, EOFError, ConnectionError, FileNotFoundError) as error:
        # A worker's exception starts with "Caught ... in DataLoader worker process 0". A dead worker "exited
        # unexpectedly" or "is killed by signal", or its announced batch can't be fetched.
        killed = str(error).startswith("DataLoader worker (pid") if isinstance(error, RuntimeError) else True
        if not killed or str(error).startswith("Caught "):
            raise
        ends = [process.exitcode for process in getattr(batches, "_workers", ())]
        how = (
            "found no room in shared memory (/dev/shm)"
            if _NO_SHARED_MEMORY in ends
            else "was killed, probably because memory ran out"
        )
        raise ProcessError(
            f"a process that reads training data {how}; continue the run with --resume, and if it happens again, give "
            "a container more shared memory (docker run --shm-size=8g), or read in the process that trains "
            "(--set num_workers=0)"
        ) from None


def _next_batch(batches: Iterator[_Batch], signals: Sequence[int]) -> _Batch:
    deadline = math.inf
    while True:
        try:
            return next(batches)
        except RuntimeError as error:
            if not str(error).startswith("DataLoader timed out"):
                raise
        if time.monotonic() > deadline:
            print_line("segvoc: stopped by a signal while waiting for data; the last checkpoint stays")
            raise SystemExit(128 + signals[0])
        if signals and deadline == math.inf:
            deadline = time.monotonic() + LAST_BATCH


def _isolate_worker(worker: int) -> None:
    """Move a worker to its own process group, so that a signal to the run's group doesn't kill it mid-step."""

    def end(error: BaseException, _: object) -> None:
        os._exit(_NO_SHARED_MEMORY if "No space left" in str(error) else 1)

    # Python would print that a batch doesn't fit into shared memory, and drop it; the run would wait for it forever
    queues.Queue._on_queue_feeder_error = staticmethod(end)  # pyright: ignore[reportAttributeAccessIssue]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "setpgid"):  # Windows has no such groups
        os.setpgid(0, 0)
    exit_when_parent_dies()


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> Int[Tensor, " N"]:
    """The order of the images in an epoch; cached, since it takes as long as reading an image."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, "order", epoch)))


def stacked(samples: Sequence[TrainingSample]) -> TrainingBatch:
    """Stack the samples of a batch."""
    problems = tuple(problem for sample in samples for problem in sample.problems)
    return TrainingBatch(
        torch.stack([sample.image for sample in samples]), torch.stack([sample.labels for sample in samples]), problems
    )


def seed_of(*keys: int | str) -> int:
    """A 63-bit seed from keys, such as the run's seed, a purpose and a position; others give unrelated seeds."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True, kw_only=True)
class PartTrainingSet(TrainingSet):
    """Images whose classes are parts of objects ("dog's head") and objects without parts.

    A pixel has two labels: the index of its part in `names.specific` and the index of its object in `names.objects`.
    Its object is the object of its part, or that of the images' object maps, if they have some; background, unlabeled
    pixels of these maps and unlearned objects count as no object.
    """

    def __post_init__(self) -> None:
        missing = (image.stem for image in self.images.images if image.stem not in self._object_maps)
        if self.images.object_maps is not None and (stem := next(missing, None)) is not None:
            raise UsageError(f"{stem!r} has no object map; add it, or leave out the object maps")

    @cached_property
    def names(self) -> PartNames:
        """The parts and objects to learn."""
        return PartNames.of(self.vocabulary.words)

    def read(self, index: int) -> tuple[np.ndarray, Int[Tensor, "2 H W"]]:
        """Read an image, and its maps of parts and objects; `InputError` also if none of them is learned."""
        image, labels = self.images.read(index)
        parts, objects = (torch.from_numpy(table[labels]) for table in self._tables)
        if (maps := self.images.object_maps) is not None:
            labels = self._object_maps[self.images.images[index].stem].read_labels(labels.shape, len(maps.vocabulary))
            objects = torch.from_numpy(self._object_table[labels])
        if not ((parts < NONE) & (parts != IGNORED)).any() and not ((objects < NONE) & (objects != IGNORED)).any():
            raise InputError(f"{self.images.images[index].stem!r} has no learned part or object")
        return image, torch.stack((parts, objects))

    @property
    def no_classes(self) -> frozenset[int]:
        """Labels that aren't classes to learn."""
        return frozenset((IGNORED, NONE))

    def names_of_maps(self) -> tuple[Sequence[str], ...]:
        """The names of the part map, and those of the object map."""
        return self.names.specific, self.names.objects

    @cached_property
    def _object_maps(self) -> dict[str, LabeledImage]:
        maps = self.images.object_maps
        return {} if maps is None else {image.stem: image for image in maps.images}

    @cached_property
    def _tables(self) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """For each label of the label maps, its part and its object."""
        names = self.names
        part_of_word = {word: part for part, word in enumerate(names.specific)}
        object_of_word = self._object_indices | {word: names.object_of[part] for word, part in part_of_word.items()}
        parts, objects = (np.full(UNLABELED + 1, IGNORED, np.int32) for _ in range(2))
        for label, word in enumerate(self.images.vocabulary.words):
            parts[label] = part_of_word.get(word, NONE)
            objects[label] = NONE if word == self.images.background else object_of_word[word]
        return parts, objects

    @cached_property
    def _object_table(self) -> Int[np.ndarray, " N"]:
        """For each label of the object maps, its object."""
        table = np.full(UNLABELED + 1, NONE, np.int32)
        words = () if self.images.object_maps is None else self.images.object_maps.vocabulary.words
        table[: len(words)] = [self._object_indices.get(word, NONE) for word in words]
        return table

    @cached_property
    def _object_indices(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names.objects)}

"""The interface between the training loop and a task, and the task for labeled images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from segvoc.data.training.training_set import ShardedSampler, TrainingBatch, TrainingSet, batches, seed_of
from segvoc.errors import InputError
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartWords
from segvoc.training.objectives.segmentation import Objective, PartObjective, objective_of
from segvoc.training.recipe import Recipe


class StepInfo(NamedTuple):
    """Identifies one forward pass of a run."""

    step: int
    rank: int
    number: int
    """Index of the forward pass within the step, from 0."""


@runtime_checkable
class TrainingTask(Protocol):
    """Training data with a matching objective.

    Every batch has `problems`, with one line for each unreadable image.
    """

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> nn.Module:
        """The module that maps `inputs` to losses by name; training minimizes "loss".

        If the loss is a mean over labeled pixels, the module also has `counted`, which maps `inputs` to their number,
        or to several for a sum of means. Its last input is then the divisor of the sums.
        """
        ...

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[Any]:
        """The sampler's batches, loaded by `workers` processes (0: this process)."""
        ...

    def inputs(self, batch: Any, info: StepInfo, device: torch.device) -> tuple[Any, ...]:
        """The arguments of the objective, moved to the device.

        Raises:
            InputError: the batch is empty because none of its images could be read.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """Training with labeled images."""

    training_set: TrainingSet
    words: Tensor | PartWords
    """Embeddings of the class prompts, or their tokens if the text encoder is trained."""
    chosen: int
    """Number of classes per step: those in its images, plus random others (0: all)."""
    seed: int
    """Seed for drawing the random classes."""

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> Objective | PartObjective:
        """See `TrainingTask`."""
        return objective_of(network, recipe)

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[TrainingBatch]:
        """See `TrainingTask`."""
        return batches(self.training_set, sampler, workers, pinned=pinned)

    def inputs(
        self, batch: TrainingBatch, info: StepInfo, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | PartWords]:
        """Images, labels and words."""
        if not batch.images.numel():
            raise InputError(f"none of the {len(self.training_set.images)} images can be read; {batch.problems[0]}")
        to = {"device": device, "non_blocking": True}
        # copied from pinned memory unchanged, then widened on the device
        labels, words = batch.labels.to(**to).long(), self.words
        if self.chosen and isinstance(words, Tensor):
            seed = seed_of(self.seed, "words", *info)
            chosen = chosen_words(batch.labels, len(words), self.chosen, seed)
            chosen = (chosen.pin_memory() if device.type == "cuda" else chosen).to(**to)
            labels = torch.where(labels < len(words), torch.searchsorted(chosen, labels), labels)
            words = words[chosen]
        return batch.images.to(**to), labels, words


def chosen_words(labels: Int[Tensor, "B H W"], classes: int, words: int, seed: int) -> Int[Tensor, " N"]:
    """Sample classes for a step: those in the images, even if there are more, and random others; ascending.

    Args:
        labels: the class of every pixel; values from `classes` on are not classes.
        classes: number of all classes.
        words: number of classes to sample.
        seed: seed of the random others.
    """
    there = labels.unique()
    there = there[there < classes]
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    others = order[~torch.isin(order, there)][: max(0, words - len(there))]
    return torch.cat((there, others)).sort().values

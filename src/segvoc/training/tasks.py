"""The protocol between the training loop and a task, and the task of labelled images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from segvoc.data.training.training_set import ShardedSampler, TrainingBatch, TrainingSet, batches, seed_of
from segvoc.errors import InputError
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_words import PartWords
from segvoc.training.class_sampling import chosen_words
from segvoc.training.objectives.captions import CaptionObjective
from segvoc.training.objectives.segmentation import AnyObjective, objective_of
from segvoc.training.recipe import Recipe


class StepInfo(NamedTuple):
    """Identifies one forward pass of a run."""

    step: int
    """Steps done before, from 0."""
    rank: int
    """The process that runs it."""
    number: int
    """Which of the step's forward passes it is, from 0."""


@runtime_checkable
class TrainingTask(Protocol):
    """Training data with the objective that fits them.

    Every batch has `problems`, a line for each image that could not be read.
    """

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> AnyObjective | CaptionObjective:
        """The module that computes the losses by name from `inputs`; "loss" is minimised."""
        ...

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[Any]:
        """The sampler's batches, read by `workers` processes (0: by this one)."""
        ...

    def inputs(self, batch: Any, info: StepInfo, device: torch.device) -> tuple[Any, ...]:
        """The arguments of the objective, on the device.

        Raises:
            InputError: the batch is empty, since no image could be read.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """Training on labelled images."""

    training_set: TrainingSet
    """The images and their labels."""
    words: Tensor | PartWords
    """Embeddings of the classes' prompts, or their tokens where the text encoder is trained."""
    chosen: int
    """How many classes a step uses, those in its images and random others (0: all)."""
    seed: int
    """Seed of the random classes."""

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> AnyObjective:
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
        labels, words = batch.labels.long(), self.words
        if self.chosen and isinstance(words, Tensor):
            seed = seed_of(self.seed, "words", *info)
            labels, chosen = chosen_words(labels, len(words), self.chosen, seed)
            words = words[chosen.to(words.device)]
        to = {"device": device, "non_blocking": True}
        return batch.images.to(**to), labels.to(**to), words

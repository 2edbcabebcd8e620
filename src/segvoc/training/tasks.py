"""What a run learns from: labelled pictures, or captioned ones. The loop takes either."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from segvoc.data.training.training_set import ShardedSampler, TrainingBatch, TrainingSet, batches, seed_of
from segvoc.errors import InputError
from segvoc.networks.part_words import PartWords
from segvoc.networks.pca_seg import SegmentationNetwork
from segvoc.training.class_sampling import chosen_words
from segvoc.training.objectives.captions import CaptionObjective
from segvoc.training.objectives.segmentation import AnyObjective, objective_of
from segvoc.training.recipe import Recipe


class StepInfo(NamedTuple):
    """Where a run is: the step, the process, and which of its forward passes."""

    step: int
    rank: int
    number: int


@runtime_checkable
class TrainingTask(Protocol):
    """What a network learns from, and what is asked of it. A batch has `problems`: lines about unreadable pictures."""

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> AnyObjective | CaptionObjective:
        """From what `inputs` gives to the losses by name; "loss" is what is minimised."""
        ...

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[Any]:
        """The batches at these places, read by so many workers (0: by this process)."""
        ...

    def inputs(self, batch: Any, info: StepInfo, device: torch.device) -> tuple[Any, ...]:
        """A batch as the objective takes it, on the device.

        Raises: InputError: there is nothing in it, since no picture can be read.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """Labelled pictures.

    words: embeddings of the classes' prompts (of a network of parts those of all that its classes are made of), or
    their tokens where the text tower learns. chosen: of how many a step looks at (0: all). seed: of their choice.
    """

    pictures: TrainingSet
    words: Tensor | PartWords
    chosen: int
    seed: int

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> AnyObjective:
        """The losses of labels."""
        return objective_of(network, recipe)

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[TrainingBatch]:
        """See `TrainingTask`."""
        return batches(self.pictures, sampler, workers, pinned=pinned)

    def inputs(
        self, batch: TrainingBatch, info: StepInfo, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | PartWords]:
        """Pictures, labels and words."""
        if not batch.images.numel():
            raise InputError(f"none of the {len(self.pictures.images)} pictures can be read; {batch.problems[0]}")
        labels, words = batch.labels.long(), self.words
        if self.chosen and isinstance(words, Tensor):
            seed = seed_of(self.seed, "words", *info)
            labels, chosen = chosen_words(labels, len(words), self.chosen, seed)
            words = words[chosen.to(words.device)]
        to = {"device": device, "non_blocking": True}
        return batch.images.to(**to), labels.to(**to), words

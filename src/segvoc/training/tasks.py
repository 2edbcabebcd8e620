"""What a run learns from: labelled pictures, or captioned ones. The loop takes either."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from segvoc.data.captions.batches import CaptionBatch, CaptionFeed
from segvoc.data.training.training_set import Places, TrainingBatch, TrainingSet, batches, seed_of
from segvoc.errors import InputError
from segvoc.networks.part_words import PartWords
from segvoc.networks.pca_seg import SegmentationNetwork
from segvoc.networks.syn_seg import SynSeg
from segvoc.training.class_sampling import chosen_words
from segvoc.training.objectives.captions import CaptionObjective
from segvoc.training.objectives.segmentation import AnyObjective, objective_of
from segvoc.training.recipe import Recipe


class Moment(NamedTuple):
    """Where a run is: the step, the process, and which of its forward passes."""

    step: int
    rank: int
    number: int


@runtime_checkable
class Lesson(Protocol):
    """What a network learns from, and what is asked of it. A batch has `problems`: lines about unreadable pictures."""

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> AnyObjective | CaptionObjective:
        """From what `inputs` gives to the losses by name; "loss" is what is minimised."""
        ...

    def batches(self, places: Places, workers: int, *, pinned: bool) -> Iterator[Any]:
        """The batches at these places, read by so many workers (0: by this process)."""
        ...

    def inputs(self, batch: Any, moment: Moment, device: torch.device) -> tuple[Any, ...]:
        """A batch as the objective takes it, on the device.

        Raises: InputError: there is nothing in it, since no picture can be read.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LabelLesson:
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

    def batches(self, places: Places, workers: int, *, pinned: bool) -> Iterator[TrainingBatch]:
        """See `Lesson`."""
        return batches(self.pictures, places, workers, pinned=pinned)

    def inputs(
        self, batch: TrainingBatch, moment: Moment, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | PartWords]:
        """Pictures, labels and words."""
        if not batch.images.numel():
            raise InputError(f"none of the {len(self.pictures.pictures)} pictures can be read; {batch.problems[0]}")
        labels, words = batch.labels.long(), self.words
        if self.chosen and isinstance(words, Tensor):
            seed = seed_of(self.seed, "words", *moment)
            labels, chosen = chosen_words(labels, len(words), self.chosen, seed)
            words = words[chosen.to(words.device)]
        to = {"device": device, "non_blocking": True}
        return batch.images.to(**to), labels.to(**to), words


@dataclass(frozen=True, kw_only=True)
class CaptionLesson:
    """Captioned pictures, whose features frozen towers have made."""

    feed: CaptionFeed

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> CaptionObjective:
        """The losses of phrases."""
        assert isinstance(network, SynSeg)
        return CaptionObjective(network, recipe)

    def batches(self, places: Places, workers: int, *, pinned: bool) -> Iterator[CaptionBatch]:
        """See `Lesson`."""
        return self.feed.batches(places, workers, pinned=pinned)

    def inputs(
        self, batch: CaptionBatch, moment: Moment, device: torch.device
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Taps, phrases and the picture of each phrase."""
        if not batch.taps:
            raise InputError(f"none of the {len(self.feed)} captioned pictures can be read; {batch.problems[0]}")
        to = {"device": device, "non_blocking": True}
        taps = tuple(tap.to(**to).float() for tap in batch.taps)
        return taps, batch.phrases.to(**to).float(), batch.owner.to(**to)

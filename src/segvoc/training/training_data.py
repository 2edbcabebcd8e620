"""The training data of a run (labeled or captioned images), and the training task made from them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor

from segvoc.data.benchmarks import PartTrainingImages, find_benchmark, prepared
from segvoc.data.captions.caption_index import CaptionDataset
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.augmentations import OwnTransform
from segvoc.data.training.training_set import (
    PartTrainingSet,
    ShardedSampler,
    TrainingBatch,
    TrainingSet,
    batches,
    seed_of,
)
from segvoc.encoders.prompts import PartWords
from segvoc.errors import InputError, UsageError
from segvoc.evaluation.task import EvaluationTask
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.syn_seg import SynSeg
from segvoc.runtime.distributed import Processes
from segvoc.runtime.progress import print_line
from segvoc.training.caption_task import CaptionFiles, CaptionTask, frozen_encoders, open_caption_task, open_captions
from segvoc.training.loop import ForwardPass
from segvoc.training.objectives.segmentation import Objective, PartObjective, objective_of
from segvoc.training.parameters import learning_rates
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import FEATURES
from segvoc.vocabulary import Vocabulary

HELD_OUT = "coco-stuff"
"""The validation benchmark of papers' recipes (its first images), unless their data is the training set of a
benchmark."""

LOOKED_AT = 100
"""Number of its images."""


def needed_data(recipe: Recipe) -> tuple[str, ...]:
    """The training and validation benchmarks of a recipe; empty for captions.

    Raises:
        UsageError: the recipe's dataset isn't a benchmark.
    """
    if recipe.supervision == "captions":
        return ()
    name = find_benchmark(recipe.data.dataset).name
    return recipe.data.dataset, name.removesuffix("-train") if name.endswith("-train") else HELD_OUT


def recipe_data(recipe: Recipe, root: str | Path) -> tuple[LabeledImages, EvaluationTask]:
    """The training set of a paper's recipe, and the first images of its held-out benchmark.

    Raises:
        UsageError: benchmarks aren't prepared; the message names all of them.
    """
    sets, problems = dict[str, LabeledImages](), list[str]()
    for name in needed_data(recipe):
        try:
            sets[name] = prepared(find_benchmark(name), root)
        except UsageError as error:
            problems.append(str(error))
    learned, watched = needed_data(recipe)
    if problems:
        raise UsageError(f"the recipe trains on {learned} and is validated on {watched}: {'; '.join(problems)}")
    first = sets[watched].only(range(min(LOOKED_AT, len(sets[watched]))))
    return sets[learned], replace(EvaluationTask.of_benchmark(find_benchmark(watched), root), images=first)


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
        self, batch: TrainingBatch, number: ForwardPass, device: torch.device
    ) -> tuple[Tensor, Tensor, Tensor | PartWords]:
        """Images, labels and words."""
        if not batch.images.numel():
            raise InputError(f"none of the {len(self.training_set.images)} images can be read; {batch.problems[0]}")
        to = {"device": device, "non_blocking": True}
        # copied from pinned memory unchanged, then widened on the device
        labels, words = batch.labels.to(**to).long(), self.words
        if self.chosen and isinstance(words, Tensor):
            seed = seed_of(self.seed, "words", *number)
            chosen = chosen_words(batch.labels, len(words), self.chosen, seed)
            chosen = (chosen.pin_memory() if device.type == "cuda" else chosen).to(**to)
            labels = torch.where(labels < len(words), torch.searchsorted(chosen, labels), labels)
            words = words[chosen]
        return batch.images.to(**to), labels, words


def chosen_words(labels: Int[Tensor, "B H W"], classes: int, words: int, seed: int) -> Int[Tensor, " N"]:
    """Sample classes for a step: those in the images, even if there are more, and random others; ascending.

    Labels from `classes` on, the number of all classes, are not classes.
    """
    there = labels.unique()
    there = there[there < classes]
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    others = order[~torch.isin(order, there)][: max(0, words - len(there))]
    return torch.cat((there, others)).sort().values


@dataclass(frozen=True, kw_only=True)
class LabelTrainingData:
    """Labeled images for training, and images for validation."""

    recipe: Recipe
    learned: LabeledImages
    """Images for training."""
    watched: EvaluationTask
    """Images for validation during the run."""
    object_maps: LabeledImages | None
    """Label maps of objects, for part networks whose part label maps don't imply the object."""
    seed: int
    transform: OwnTransform | None = None

    def described(self) -> dict[str, Any]:
        """The data's entries in the configuration of the run: everything its results depend on."""
        facts = {
            "name": self.learned.name,
            "classes": list(self.learned.vocabulary.words),
            "background": self.learned.background,
            "count": len(self.learned),
            "learned_digest": f"{seed_of(*(image.identity for image in self.learned.images)):x}",
            "watched": [image.stem for image in self.watched.select_images(None)],
        }
        if self.object_maps is not None:
            facts["objects"] = list(self.object_maps.vocabulary.words)
        if self.transform is not None:
            facts["transform"] = self.transform.name
        return {"images": facts}

    def metadata(self) -> dict[str, Any]:
        """The data's entries in the header of the weights file."""
        return {"classes": list(self.learned.vocabulary.words)}

    def task(self, network: SegmentationNetwork, templates: Sequence[str], warn: Callable[[str], None]) -> LabelTask:
        """Create the task of training a network, on its device, on these images.

        `{}` in prompt templates stands for the word; `warn` gets each warning as a readable line.
        """
        training_set = self.training_set(network)
        words = class_words(network, templates, training_set.vocabulary, self.recipe)
        words = words.to(next(network.parameters()).device)
        chosen = self.recipe.objective.num_sampled_classes
        return LabelTask(training_set=training_set, words=words, chosen=chosen, seed=self.seed)

    def training_set(self, network: SegmentationNetwork) -> TrainingSet:
        """The images, augmented, with one label for each pixel, or two for a network of parts.

        Raises:
            UsageError: the network isn't one of parts, and object maps are given.
        """
        recipe, images, object_maps = self.recipe, self.learned, self.object_maps
        own: dict[str, Any] = {"augmentation": recipe.data, "seed": self.seed, "transform": self.transform}
        if isinstance(network, PartNetwork):
            object_maps = images.object_maps if isinstance(images, PartTrainingImages) else object_maps
            return PartTrainingSet(images=images, object_maps=object_maps, **own)
        if object_maps is not None:
            raise UsageError(f"{recipe.model} is not trained on separate objects; leave out the label maps of objects")
        return TrainingSet(images=images, **own)


@dataclass(frozen=True, kw_only=True)
class CaptionTrainingData:
    """Captioned images for training; overlays are drawn for the first few."""

    recipe: Recipe
    watched: CaptionDataset
    """All images, for training and for the overlays."""
    folder: Path
    """The folder of the cached features."""
    seed: int
    processes: Processes
    silent: bool

    def described(self) -> dict[str, Any]:
        """The data's entries in the configuration of the run: everything its results depend on."""
        facts = self.watched.facts
        return {"captions": {name: facts[name] for name in ("name", "images", "with_phrases", "phrases", "digest")}}

    def metadata(self) -> dict[str, Any]:
        """The data's entries in the header of the weights file."""
        return {"captioned_images": len(self.watched)}

    def task(self, network: SegmentationNetwork, templates: Sequence[str], warn: Callable[[str], None]) -> CaptionTask:
        """See `LabelTrainingData.task`; computes missing features first."""
        if not isinstance(network, SynSeg):
            raise UsageError(f"{self.recipe.model} can't be trained on captions; train syn-seg-b, or tiny-syn")
        network.eval()
        return open_caption_task(
            frozen_encoders(network, templates, self.recipe.data.input_size),
            self.watched,
            self.folder,
            seed=self.seed,
            mirror=self.recipe.captions.flip,
            processes=self.processes,
            silent=self.silent,
        )


def training_data_of(
    recipe: Recipe,
    images: LabeledImages | CaptionFiles,
    watched: LabeledImages | EvaluationTask | None,
    object_maps: LabeledImages | None,
    seed: int,
    out: Path,
    processes: Processes,
    *,
    silent: bool,
    transform: OwnTransform | None = None,
) -> LabelTrainingData | CaptionTrainingData:
    """Collect the training data of a run; see `segvoc.training.run.train` for the arguments.

    Raises: UsageError: there are too few images.
    """
    if isinstance(images, CaptionFiles):
        folder = images.features or out / FEATURES
        dataset = open_captions(
            images, recipe, folder, processes, lambda line: print_line(f"segvoc: warning: {line}"), silent=silent
        )
        return CaptionTrainingData(
            recipe=recipe, watched=dataset, folder=folder, seed=seed, processes=processes, silent=silent
        )
    if watched is None:
        images, watched = _split(recipe, images, seed)
    if not isinstance(watched, EvaluationTask):
        watched = EvaluationTask.of_images(watched)
    return LabelTrainingData(
        recipe=recipe, learned=images, watched=watched, object_maps=object_maps, seed=seed, transform=transform
    )


def class_words(
    network: SegmentationNetwork, templates: Sequence[str], vocabulary: Vocabulary, recipe: Recipe
) -> Tensor | PartWords:
    """Compute embeddings (T P C) of the class prompts, or their tokens (T P L) if the text encoder is trained.

    Raises: UsageError: a text encoder of a part network, or with 80 prompts for each name, can't be trained.
    """
    if not any(name.startswith("text_encoder.") for name in learning_rates(network, recipe)):
        with torch.no_grad():
            return cast(Tensor | PartWords, network.word_encoder(templates)(vocabulary))
    if isinstance(network, PartNetwork):
        raise UsageError(
            "the text encoder of a part network can't be trained; set trainable_encoders=image or trainable=none"
        )
    if network.average_prompts:
        raise UsageError(
            "the text encoder can't be trained on the mean of 80 prompts; set trainable_encoders=image, "
            "trainable=none or prompts=scene"
        )
    prompts = [names[0] for by_class in vocabulary.prompts(templates) for names in by_class]
    tokens: Tensor = network.text_encoder.tokenize(prompts)  # pyright: ignore[reportCallIssue]
    return tokens.view(len(vocabulary), len(templates), -1)


def _split(recipe: Recipe, images: LabeledImages, seed: int) -> tuple[LabeledImages, LabeledImages]:
    """Split the images into training and validation images."""
    if recipe.data.num_val_images >= len(images):
        raise UsageError(
            f"num_val_images={recipe.data.num_val_images} of {len(images)} images leaves none for training; lower it"
        )
    generator = torch.Generator().manual_seed(seed_of(seed, "held out"))
    order = torch.randperm(len(images), generator=generator).tolist()
    chosen = sorted(order[: recipe.data.num_val_images or 4])
    shown = images.only(chosen)
    if not recipe.data.num_val_images:
        return images, shown
    return images.only(sorted(order[recipe.data.num_val_images :])), shown

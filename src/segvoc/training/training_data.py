"""The options and the training data of a run (labeled or captioned images), and the training task made from them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from jaxtyping import Int
from torch import Tensor

from segvoc.data.benchmarks import find_benchmark, prepared
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.augmentations import OwnTransform, Transform
from segvoc.data.training.training_set import (
    PartTrainingSet,
    ShardedSampler,
    TrainingBatch,
    TrainingSet,
    read_ahead,
    seed_of,
    stacked,
)
from segvoc.encoders.prompts import PartWords
from segvoc.errors import InputError, UsageError
from segvoc.evaluation.task import EvaluationTask
from segvoc.layers.precision import lowest_precision
from segvoc.models.headers import words_record
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.training.callbacks import Callback
from segvoc.training.caption_task import CaptionFiles
from segvoc.training.loop import ForwardPass
from segvoc.training.objectives import Objective, PartObjective
from segvoc.training.parameters import learning_rates
from segvoc.training.recipe import Recipe
from segvoc.training.start import Start
from segvoc.vocabulary import Vocabulary

TrainingImages = LabeledImages | CaptionFiles
"""What a network learns from: labeled images (of folders, datasets or benchmarks), or files of captions."""

HELD_OUT = "coco-stuff"
"""The validation benchmark of papers' recipes (its first images), unless their data is the training set of a
benchmark."""

LOOKED_AT = 100
"""Number of its images."""


def needed_data(recipe: Recipe) -> tuple[str, ...]:
    """The training and validation benchmarks of a recipe; empty for captions."""
    if recipe.supervision == "captions":
        return ()
    name = find_benchmark(recipe.data.dataset).name
    return recipe.data.dataset, name.removesuffix("-train") if name.endswith("-train") else HELD_OUT


def recipe_data(recipe: Recipe, root: str | Path) -> tuple[LabeledImages, EvaluationTask]:
    """The training set of a paper's recipe, and the first images of its held-out benchmark.

    `UsageError`: benchmarks aren't prepared; the message names all of them.
    """
    sets, problems = dict[str, LabeledImages](), list[str]()
    for name in needed_data(recipe):
        try:
            sets[name] = prepared(find_benchmark(name), root)
        except UsageError as error:
            problems.append(str(error))
    learned, validation = needed_data(recipe)
    if problems:
        raise UsageError(f"the recipe trains on {learned} and is validated on {validation}: {'; '.join(problems)}")
    first = sets[validation].only(range(min(LOOKED_AT, len(sets[validation]))))
    return sets[learned], replace(EvaluationTask.of_benchmark(find_benchmark(validation), root), images=first)


class TrainOptions(TypedDict, total=False):
    """Options of a run."""

    network: SegmentationNetwork | None
    """A custom network with its weights, used instead of the recipe's model; for example, a preset with a different
    aggregation. It is trained in place; afterwards it has the weights of the file and is in evaluation mode. Image
    sizes and prompts are those of the recipe's model. `segvoc.load(..., network=...)` loads the result."""
    start: Start | None
    """The initial weights; omit it if you pass `network`."""
    validation: LabeledImages | EvaluationTask | None
    """The validation set, scored as in `segvoc evaluate`. None: `recipe.data.num_val_images` of the images, or a few of
    the training images."""
    object_maps: LabeledImages | None
    """Label maps of the objects, for a part network whose part label maps don't imply the object."""
    transform: Transform | None
    """A custom transform, `image, labels = transform(image, labels, rng)`, applied to training images before the
    recipe's augmentation; see `segvoc.data.training.augmentations`."""
    seed: int | None
    """Seed of all random numbers; None: the recipe's first."""
    device: str
    """"auto" (default), "cpu", "cuda", ...; under `torchrun` each process uses its own GPU."""
    resume: bool
    """Continue from the last checkpoint, or start a new run if there is none."""
    progress: bool
    """Whether to show progress (default): a bar on a terminal, otherwise an occasional line."""
    callbacks: Sequence[Callback] | None
    """`segvoc.training.trackers`, or your own `segvoc.Callback`. None: TensorBoard files in the run folder, if the
    package is installed."""


def check_options(options: TrainOptions, recipe: Recipe) -> None:
    """Raise `UsageError` if they don't fit together."""
    if os.environ.get("OMP_DYNAMIC", "").strip().lower() in ("1", "true"):
        # oneDNN kernels wait forever for threads that OpenMP hasn't started
        raise UsageError("OMP_DYNAMIC makes training hang; unset it before Python starts")
    if (network := options.get("network")) is not None:
        if options.get("start") is not None:
            raise UsageError("a custom network already has weights; leave out `start`")
        if (precision := lowest_precision(network)).itemsize < torch.float32.itemsize:
            kind = str(precision).removeprefix("torch.")
            raise UsageError(f"the network's weights were rounded to {kind}; train it loaded with dtype='float32'")
    if (transform := options.get("transform")) is not None:
        if recipe.supervision == "captions":
            raise UsageError("a recipe that learns from captions takes no transform; leave it out")
        if recipe.runtime.num_workers:
            OwnTransform(function=transform).check_sendable()


@dataclass(frozen=True, kw_only=True)
class LabelTask:
    """Training with labeled images."""

    training_set: TrainingSet
    words: Tensor | PartWords
    """Embeddings of the class prompts, or their tokens if the text encoder is trained."""
    chosen: int
    """Number of classes per step: those in its images, plus random others (0: all)."""

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> Objective | PartObjective:
        """See `TrainingTask`."""
        return PartObjective(network, recipe) if isinstance(network, PartNetwork) else Objective(network, recipe)

    def batches(
        self, sampler: ShardedSampler, workers: int, *, pinned: bool, signals: Sequence[int] = ()
    ) -> Iterator[TrainingBatch]:
        """See `TrainingTask`."""
        return read_ahead(self.training_set, sampler, stacked, workers, pinned=pinned, signals=signals)

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
            seed = seed_of(self.training_set.seed, "words", *number)
            chosen = chosen_words(batch.labels, len(words), self.chosen, seed)
            chosen = (chosen.pin_memory() if device.type == "cuda" else chosen).to(**to)
            labels = torch.where(labels <= len(words), torch.searchsorted(chosen, labels), labels)
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
class LabelData:
    """Labeled images to train and to validate on."""

    recipe: Recipe
    training_set: TrainingSet
    validation: EvaluationTask

    @classmethod
    def of(
        cls, recipe: Recipe, images: LabeledImages, network: SegmentationNetwork, options: TrainOptions, *, seed: int
    ) -> "LabelData":
        """The data of a run; `UsageError` if there are too few images, or the network isn't trained on objects."""
        validation, transform = options.get("validation"), options.get("transform")
        held_out = recipe.data.num_val_images
        of_parts = isinstance(network, PartNetwork)
        if (object_maps := options.get("object_maps")) is not None:
            if not of_parts:
                raise UsageError(
                    f"{recipe.model} is not trained on separate objects; leave out the label maps of objects"
                )
            images = replace(images, object_maps=object_maps)
        if validation is None:
            if held_out >= len(images):
                raise UsageError(
                    f"num_val_images={held_out} of {len(images)} images leaves none for training; lower it"
                )
            generator = torch.Generator().manual_seed(seed_of(seed, "held out"))
            order = torch.randperm(len(images), generator=generator).tolist()
            validation = images.only(sorted(order[: held_out or 4]))
            images = images.only(sorted(order[held_out:]))
        if isinstance(validation, LabeledImages):
            validation = EvaluationTask.of_images(validation)
        training_set = (PartTrainingSet if of_parts else TrainingSet)(  # for parts, two labels for each pixel
            images=images,
            augmentation=recipe.data,
            seed=seed,
            transform=None if transform is None else OwnTransform(function=transform),
        )
        return cls(recipe=recipe, training_set=training_set, validation=validation)

    def described(self) -> dict[str, Any]:
        """The data's entries in the configuration of the run: everything its results depend on."""
        images, transform = self.training_set.images, self.training_set.transform
        facts = {
            "name": images.name,
            "classes": list(images.vocabulary.words),
            "background": images.background,
            "count": len(images),
            "learned_digest": f"{seed_of(*(image.identity for image in images.images)):x}",
            "validation": [image.stem for image in self.validation.images.images],
        }
        if images.object_maps is not None:
            facts["objects"] = list(images.object_maps.vocabulary.words)
        if transform is not None:
            facts["transform"] = transform.name
        return {"images": facts}

    def metadata(self) -> dict[str, Any]:
        """The data's entries in the header of the weights file."""
        images = self.training_set.images
        return words_record(tuple(images.vocabulary.words), images.background)

    def task(self, network: SegmentationNetwork, templates: Sequence[str]) -> LabelTask:
        """Create the task of training a network, on its device; `{}` in prompt templates stands for the word."""
        words = class_words(network, templates, self.training_set.vocabulary, self.recipe)
        return LabelTask(
            training_set=self.training_set,
            words=words.to(next(network.parameters()).device),
            chosen=self.recipe.objective.num_sampled_classes,
        )


def class_words(
    network: SegmentationNetwork, templates: Sequence[str], vocabulary: Vocabulary, recipe: Recipe
) -> Tensor | PartWords:
    """Compute embeddings (T P C) of the class prompts, or their tokens (T P L) if the text encoder is trained."""
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
    prompts = [prompt for of_class in vocabulary.prompts(templates) for prompt in of_class]
    tokens: Tensor = network.text_encoder.tokenize(prompts)  # pyright: ignore[reportCallIssue]
    return tokens.view(len(vocabulary), len(templates), -1)

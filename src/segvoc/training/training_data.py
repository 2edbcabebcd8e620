"""Training data of a run, labelled or captioned images, and the task that they make for a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from segvoc.data.benchmarks import PartTrainingImages
from segvoc.data.captions.caption_dataset import CaptionDataset
from segvoc.data.labelled_images import LabelledImages
from segvoc.data.training.augmentations import Augmentation
from segvoc.data.training.part_training_set import PartTrainingSet
from segvoc.data.training.training_set import IGNORED, TrainingSet, seed_of
from segvoc.distributed import Processes, available_cores
from segvoc.errors import UsageError
from segvoc.evaluation.task import EvaluationTask
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.part_words import PartWords
from segvoc.networks.syn_seg import SynSeg
from segvoc.progress import print_line
from segvoc.training.caption_task import CaptionFiles, CaptionTask, frozen_encoders, open_caption_task, open_captions
from segvoc.training.parameters import learning_rates
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import FEATURES, RunFolder
from segvoc.training.tasks import LabelTask
from segvoc.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What a task depends on beside its data: the network and the run."""

    network: SegmentationNetwork
    templates: Sequence[str]
    folder: RunFolder
    seed: int
    processes: Processes
    warn: Callable[[str], None]
    silent: bool
    """Whether this process shows no progress."""


@dataclass(frozen=True, kw_only=True)
class LabelTrainingData:
    """Labelled images for training, images to watch, and separate maps of the objects if there are any."""

    recipe: Recipe
    learnt: LabelledImages
    watched: EvaluationTask
    object_maps: LabelledImages | None

    def described(self) -> dict[str, Any]:
        """What the results of a run depend on, for its configuration."""
        pictures = {
            "name": self.learnt.name,
            "classes": list(self.learnt.vocabulary.words),
            "background": self.learnt.background,
            "count": len(self.learnt),
            "learnt_digest": f"{seed_of(*(picture.stem for picture in self.learnt.images)):x}",
            "watched": [image.stem for image in self.watched.select_images(None)],
        }
        if self.object_maps is not None:
            pictures["objects"] = list(self.object_maps.vocabulary.words)
        return {"pictures": pictures}

    def metadata(self) -> dict[str, Any]:
        """What the header of the weights file says about the data."""
        return {"classes": list(self.learnt.vocabulary.words)}

    def task(self, run: Run) -> LabelTask:
        """The task of training a network on them."""
        pictures = _training_set(run.network, self.recipe, self.learnt, self.object_maps, run.seed)
        words = class_words(run.network, run.templates, pictures.vocabulary, self.recipe)
        where = next(run.network.parameters()).device
        return LabelTask(pictures=pictures, words=words.to(where), chosen=self.recipe.words, seed=run.seed)


@dataclass(frozen=True, kw_only=True)
class CaptionTrainingData:
    """Captioned images to train on; the first of them are watched."""

    recipe: Recipe
    watched: CaptionDataset
    """The images."""
    folder: Path
    """Where the encoders' features are kept."""

    def described(self) -> dict[str, Any]:
        """What a run's numbers depend on, for its configuration."""
        facts = self.watched.facts
        return {"captions": {name: facts[name] for name in ("name", "images", "with_phrases", "phrases", "digest")}}

    def metadata(self) -> dict[str, Any]:
        """What the weights' file says about the data."""
        return {"captioned_images": len(self.watched)}

    def task(self, run: Run) -> CaptionTask:
        """The task of a network on its device; features that are missing are computed."""
        network = run.network
        if not isinstance(network, SynSeg):
            raise UsageError(f"{self.recipe.model} can't learn from captions; train syn-seg-b, or tiny-syn")
        network.eval()
        return open_caption_task(
            frozen_encoders(network, run.templates, self.recipe.side),
            self.watched,
            self.folder,
            seed=run.seed,
            mirror=self.recipe.mirror,
            cached=self.recipe.cached,
            workers=min(self.recipe.workers, available_cores()),
            processes=run.processes,
            warn=lambda problem: run.warn(f"passed over: {problem}"),
            silent=run.silent,
        )


def training_data_of(
    recipe: Recipe,
    pictures: LabelledImages | CaptionFiles,
    watched: LabelledImages | EvaluationTask | None,
    object_maps: LabelledImages | None,
    seed: int,
    out: Path,
    processes: Processes,
    *,
    silent: bool,
) -> LabelTrainingData | CaptionTrainingData:
    """What a recipe makes of pictures; see `segvoc.training.run.train` for the arguments.

    Raises: UsageError: there are too few.
    """
    if isinstance(pictures, CaptionFiles):
        folder = pictures.features or out / FEATURES
        dataset = open_captions(
            pictures, recipe, folder, processes, lambda line: print_line(f"segvoc: warning: {line}"), silent=silent
        )
        return CaptionTrainingData(recipe=recipe, watched=dataset, folder=folder)
    if watched is None:
        pictures, watched = _split(recipe, pictures, seed)
    if not isinstance(watched, EvaluationTask):
        watched = EvaluationTask.of_images(watched)
    return LabelTrainingData(recipe=recipe, learnt=pictures, watched=watched, object_maps=object_maps)


def _training_set(
    network: SegmentationNetwork,
    recipe: Recipe,
    pictures: LabelledImages,
    object_maps: LabelledImages | None,
    seed: int,
) -> TrainingSet:
    changes = augmentation(recipe)
    if isinstance(network, PartNetwork):
        object_maps = pictures.object_maps if isinstance(pictures, PartTrainingImages) else object_maps
        return PartTrainingSet(
            images=pictures, augmentation=changes, seed=seed, swap_sides=recipe.swap_sides, object_maps=object_maps
        )
    if object_maps is not None:
        raise UsageError(f"{recipe.model} learns no objects beside its classes; leave out the maps of objects")
    return TrainingSet(images=pictures, augmentation=changes, seed=seed, swap_sides=recipe.swap_sides)


def augmentation(recipe: Recipe) -> Augmentation:
    """The changes of pictures that a recipe asks for."""
    return Augmentation(
        shortest=recipe.shortest,
        longest=recipe.longest,
        crop=recipe.crop,
        single_class=recipe.single_class,
        colour=recipe.colour,
        flip=recipe.flip,
        squash=recipe.squash,
        ignored=IGNORED,
    )


def class_words(
    network: SegmentationNetwork, templates: Sequence[str], vocabulary: Vocabulary, recipe: Recipe
) -> Tensor | PartWords:
    """Embeddings (T P C) of the classes' prompts, or their tokens (T P L) where the text tower learns.

    Raises:
        UsageError: the text tower of a network of parts is to learn: it has 80 prompts for hundreds of names.
    """
    if not any(name.startswith("text_encoder.") for name in learning_rates(network, recipe)):
        with torch.no_grad():
            return cast(Tensor | PartWords, network.word_encoder(templates)(vocabulary))
    if isinstance(network, PartNetwork):
        raise UsageError("the text tower of a network of parts stays as it is; train towers=image or tuned=none")
    prompts = [names[0] for by_class in vocabulary.prompts(templates) for names in by_class]
    tokens: Tensor = network.text_encoder.tokenize(prompts)  # pyright: ignore[reportCallIssue]
    return tokens.view(len(vocabulary), len(templates), -1)


def _split(recipe: Recipe, pictures: LabelledImages, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """What is learnt from and what is looked at."""
    if recipe.held_out >= len(pictures):
        raise UsageError(f"held_out={recipe.held_out} of {len(pictures)} pictures leaves none to learn from; lower it")
    generator = torch.Generator().manual_seed(seed_of(seed, "held out"))
    order = torch.randperm(len(pictures), generator=generator).tolist()
    chosen = sorted(order[: recipe.held_out or 4])
    shown = pictures.only(chosen)
    if not recipe.held_out:
        return pictures, shown
    return pictures.only(sorted(order[recipe.held_out :])), shown

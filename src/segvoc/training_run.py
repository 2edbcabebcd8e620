"""`segvoc train`: a recipe, a start and pictures, to a folder with a trained network in it."""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

import torch
from torch import Tensor

from segvoc import __version__
from segvoc.checkpoints.files import FORMAT, WeightsFile, read_weights, write_weights
from segvoc.checkpoints.strict import check_values, fit_exactly
from segvoc.data.augmentations import Augmentation
from segvoc.data.benchmarks import LearntParts
from segvoc.data.captions.phrases import PhraseSet
from segvoc.data.labelled_images import LabelledImages
from segvoc.data.part_training import PartTrainingSet
from segvoc.data.training_set import IGNORED, TrainingSet, seed_of
from segvoc.encoders.text_features import content_hash
from segvoc.errors import CheckpointError, UsageError
from segvoc.layers.no_aggregation import NoAggregation
from segvoc.loading import (
    COMMON,
    begin_with,
    find_device,
    is_own_path,
    named_preset,
    options_of,
    shipped_weights,
    state_of,
)
from segvoc.networks.part_cat_seg import PartNetwork
from segvoc.networks.part_words import PartWords
from segvoc.networks.pca_seg import AggregationNetwork
from segvoc.networks.syn_seg import SynSeg
from segvoc.presets import Preset, find_preset
from segvoc.training.caption_source import CaptionSource, caption_lesson, described
from segvoc.training.lessons import CaptionLesson, LabelLesson
from segvoc.training.loop import Listeners, Training
from segvoc.training.parameters import learning_rates
from segvoc.training.processes import Processes, joined
from segvoc.training.recipe import Recipe
from segvoc.training.run_folder import RunFolder, open_together
from segvoc.training.watching import Watcher
from segvoc.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from.

    weights: of the whole network: a file of segvoc or a released checkpoint; "random"; None: what the preset ships, of
    which an aggregation that departs from the preset's is left out and starts random, but for the sum of costs that it
    adds to. encoder_weights: of the towers alone: a plain CLIP (and after a comma DINOv2, where there is one beside
    it), or a file of segvoc; the aggregation starts likewise.
    """

    weights: str | None = None
    encoder_weights: str | None = None


def train(
    recipe: Recipe,
    pictures: LabelledImages | CaptionSource,
    out: str | os.PathLike[str],
    *,
    start: Start | None = None,
    watched: LabelledImages | None = None,
    object_maps: LabelledImages | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    progress: bool | None = None,
) -> None:
    """Train by a recipe; `out` then holds `model.safetensors`. See `segvoc.training.run_folder` for what else.

    Args:
        recipe: how. recipe.model may be a file of segvoc, which then is also the start.
        pictures: to learn from: labelled, or for a recipe that learns from captions captioned ones.
        out: the folder of the run: a new one, or with `resume` that of a run which was broken off.
        start: which weights to begin with.
        watched: pictures to look at meanwhile; None: `recipe.held_out` of `pictures`, or a few that are learnt from.
        object_maps: label maps of the objects, for a network of parts where the parts don't tell them.
        seed: of everything that is drawn.
        device: "auto", "cpu", "cuda", ...; under `torchrun` each process takes a GPU of its own.
        resume: go on from the last checkpoint; without one, begin.
        progress: a line that tells how it goes (None: on a terminal).

    Raises:
        UsageError: a recipe, weights or a folder that don't fit together.
        TrainingError: the loss was not finite too often.
        InputError: no picture can be read.
        OutputError: the disk is full, or the like.
        SystemExit: the process was told to stop; the run can be resumed.
    """
    if (recipe.learns == "captions") != isinstance(pictures, CaptionSource):
        raise UsageError(f"this recipe learns from {recipe.learns}; give those to it")
    recipe, preset, network = build(recipe, start or Start(), seed)
    where = _own_gpu(find_device(device))
    templates = preset.templates_with(recipe.options)
    material = _material(recipe, pictures, watched, object_maps, seed)
    config = _config(recipe, start or Start(), material, seed, network)
    network = network.to(where)
    with joined(where) as processes:
        if where.type == "cuda":
            torch.set_float32_matmul_precision("high")  # as the released code; it doesn't touch what `precision` says
        folder, state = open_together(processes, where, out, config, resume=resume)
        watcher = Watcher(
            folder=folder,
            recipe=recipe,
            network=network,
            protocols=preset.protocols,
            templates=templates,
            pictures=material.watched,
            progress=progress,
            silent=not processes.first,
        )
        place = _Place(
            network=network, templates=templates, folder=folder, seed=seed, processes=processes, warn=watcher.warn
        )
        training = Training(
            network=network,
            lesson=material.lesson(place),
            recipe=recipe,
            folder=folder,
            seed=seed,
            processes=processes,
            listeners=Listeners(step=watcher.step, warn=watcher.warn, look=watcher.look),
        )
        if state is not None:
            training.restore(state)
        with watcher.watching(training.step):
            training.run()
            weights = training.weights()
        if processes.first:
            _write_model(folder, recipe, material.told(), weights, config)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Place:
    """Where a lesson is given: a network on its device, in a run."""

    network: AggregationNetwork
    templates: Sequence[str]
    folder: RunFolder
    seed: int
    processes: Processes
    warn: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class _Labels:
    """Labelled pictures to learn from, those to look at, and maps of the objects where they are apart."""

    recipe: Recipe
    learnt: LabelledImages
    watched: LabelledImages
    object_maps: LabelledImages | None

    def described(self) -> dict[str, Any]:
        """What of them a run's numbers depend on."""
        pictures = {
            "name": self.learnt.name,
            "classes": list(self.learnt.vocabulary.words),
            "background": self.learnt.background,
            "count": len(self.learnt),
            "learnt_digest": f"{seed_of(*(picture.stem for picture in self.learnt.images)):x}",
            "watched": [picture.stem for picture in self.watched.images],
        }
        return {"pictures": pictures}

    def told(self) -> dict[str, Any]:
        """What the file of the weights tells of them."""
        return {"classes": list(self.learnt.vocabulary.words)}

    def lesson(self, run: _Place) -> LabelLesson:
        """The lesson that they are for a network on its device."""
        pictures = _training_set(run.network, self.recipe, self.learnt, self.object_maps, run.seed)
        words = class_words(run.network, run.templates, pictures.vocabulary, self.recipe)
        where = next(run.network.parameters()).device
        return LabelLesson(pictures=pictures, words=words.to(where), chosen=self.recipe.words, seed=run.seed)


@dataclass(frozen=True, kw_only=True)
class _Captions:
    """Captioned pictures to learn from, some of which are looked at."""

    recipe: Recipe
    source: CaptionSource
    phrases: PhraseSet

    @property
    def watched(self) -> PhraseSet:
        """Whose first pictures are looked at."""
        return self.phrases

    def described(self) -> dict[str, Any]:
        """What of them a run's numbers depend on."""
        return {"captions": described(self.source, self.phrases)}

    def told(self) -> dict[str, Any]:
        """What the file of the weights tells of them."""
        return {"captioned_pictures": len(self.phrases)}

    def lesson(self, run: _Place) -> CaptionLesson:
        """The lesson that they are for a network on its device; what of their features is missing is computed."""
        network = run.network
        if not isinstance(network, SynSeg):
            raise UsageError(f"{self.recipe.model} can't learn from captions; train syn-seg-b, or tiny-syn")
        return caption_lesson(
            network,
            run.templates,
            self.phrases,
            self.recipe,
            self.source.features or run.folder.path / "features",
            seed=run.seed,
            processes=run.processes,
            on_problem=lambda problem: run.warn(f"passed over: {problem}"),
        )


def _material(
    recipe: Recipe,
    pictures: LabelledImages | CaptionSource,
    watched: LabelledImages | None,
    object_maps: LabelledImages | None,
    seed: int,
) -> _Labels | _Captions:
    if isinstance(pictures, CaptionSource):
        return _Captions(recipe=recipe, source=pictures, phrases=pictures.phrases(recipe.phrases))
    learnt, watched = _split(recipe, pictures, watched, seed)
    return _Labels(recipe=recipe, learnt=learnt, watched=watched, object_maps=object_maps)


def _training_set(
    network: AggregationNetwork,
    recipe: Recipe,
    pictures: LabelledImages,
    object_maps: LabelledImages | None,
    seed: int,
) -> TrainingSet:
    changes = augmentation(recipe)
    if isinstance(network, PartNetwork):
        object_maps = pictures.object_maps if isinstance(pictures, LearntParts) else object_maps
        return PartTrainingSet(
            pictures=pictures, augmentation=changes, seed=seed, swap_sides=recipe.swap_sides, object_maps=object_maps
        )
    if object_maps is not None:
        raise UsageError(f"{recipe.model} learns no objects beside its classes; leave out the maps of objects")
    return TrainingSet(pictures=pictures, augmentation=changes, seed=seed, swap_sides=recipe.swap_sides)


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
    network: AggregationNetwork, templates: Sequence[str], vocabulary: Vocabulary, recipe: Recipe
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


def build(recipe: Recipe, start: Start, seed: int) -> tuple[Recipe, Preset, AggregationNetwork]:
    """The network at its start; the recipe with its preset's name and all its options.

    Raises:
        UsageError: no such model, or none of the weights that it needs are given.
        CheckpointError: weights that don't fit.
    """
    file = None
    if is_own_path(recipe.model):
        if start.weights is not None:
            raise UsageError(f"{recipe.model!r} is a file of weights, and --weights is given too; give one of them")
        file = read_weights(recipe.model)
        recipe = replace(recipe, model=named_preset(file), options=recipe.options.over(options_of(file)))
    elif start.weights not in (None, "random"):
        file = _with_towers(read_weights(start.weights), start)
        recipe = replace(recipe, options=recipe.options.over(options_of(file)))
    preset = find_preset(recipe.model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(seed, "weights"))
        network = preset.build(recipe.options)
    same = file is not None
    if file is not None:
        _fill(network, state_of(recipe.model, preset, network, file), file)
    elif start.weights is None and preset.shipped:
        file = shipped_weights(recipe.model, preset)
        same = file.tensors.keys() == network.state_dict().keys() or isinstance(network.aggregation, NoAggregation)
        _fill(network, state_of(recipe.model, preset, network, file) if same else begin_with(file, network), file)
    if start.encoder_weights is not None:
        towers, *others = (read_weights(path) for path in _paths(start.encoder_weights, network))
        _fill(network, _towers_of(towers, network, *others), towers)
    elif file is None and start.weights is None:
        raise UsageError(
            f"{recipe.model} starts from published towers: give their file with --encoder-weights, a network by "
            f"--weights, or begin from nothing with --weights random ({preset.how_to_get or 'see segvoc info'})"
        )
    if preset.begin is not None and not (same or start.weights == "random"):
        preset.begin(network)
    return recipe, preset, network


def _with_towers(file: WeightsFile, start: Start) -> WeightsFile:
    """A released decoder without towers gets those of `encoder_weights` beside it; other files stay as they are."""
    from segvoc.checkpoints.official_syn_seg import holds_decoder  # here, since timm takes seconds to import
    from segvoc.checkpoints.official_towers import is_plain_clip

    if start.encoder_weights is None or not holds_decoder(file.tensors) or is_plain_clip(file.tensors):
        return file
    return replace(file, tensors=file.tensors | read_weights(start.encoder_weights).tensors)


def _paths(encoder_weights: str, network: AggregationNetwork) -> list[str]:
    """One file, or of a network on CLIP and DINOv2 one of each.

    Raises: UsageError: that of DINOv2 is missing.
    """
    from segvoc.encoders.clip_with_dino import ClipWithDino  # here, since timm takes seconds to import

    if not isinstance(network.image_encoder, ClipWithDino) or encoder_weights.endswith(".safetensors"):
        return [encoder_weights]
    paths = encoder_weights.split(",")
    if len(paths) != 2:
        raise UsageError(
            f"--encoder-weights {encoder_weights!r} is one file, and this network has the towers of CLIP and DINOv2; "
            "give both, CLIP first: ViT-B-16.pt,dinov2_vits14_pretrain.pth"
        )
    return paths


def _towers_of(file: WeightsFile, network: AggregationNetwork, *others: WeightsFile) -> dict[str, Tensor]:
    """The towers: of a file of segvoc, with the sum of costs if both have one, or of a plain CLIP (and DINOv2)."""
    if file.preset is not None:
        return begin_with(file, network)
    if others:
        from segvoc.checkpoints.official_part_cat_seg import towers_state

        return towers_state(file.tensors, others[0].tensors, network)
    from segvoc.checkpoints.official_towers import clip_state  # here, since timm takes seconds to import

    return clip_state(file.tensors, network)


def _fill(network: AggregationNetwork, state: dict[str, Tensor], file: WeightsFile) -> None:
    """Give the network these weights: all of them, or all of the parts that it has in common with others."""
    ours = network.state_dict()
    parts = tuple(part for part in COMMON if any(name.startswith(part) for name in state))
    if any(not name.startswith(parts) for name in state):
        parts = ("",)
    shapes = {name: value.shape for name, value in ours.items() if name.startswith(parts)}
    try:
        state = fit_exactly(((name, name, value) for name, value in state.items()), shapes, "network's")
        check_values(state, ours)
    except CheckpointError as error:
        error.args = (f"{file.path!r}: {error}",)
        raise
    network.load_state_dict(state, strict=False)


def _split(
    recipe: Recipe, pictures: LabelledImages, watched: LabelledImages | None, seed: int
) -> tuple[LabelledImages, LabelledImages]:
    """What is learnt from and what is looked at."""
    if watched is not None:
        return pictures, watched
    if recipe.held_out >= len(pictures):
        raise UsageError(f"held_out={recipe.held_out} of {len(pictures)} pictures leaves none to learn from; lower it")
    generator = torch.Generator().manual_seed(seed_of(seed, "held out"))
    order = torch.randperm(len(pictures), generator=generator).tolist()
    chosen = sorted(order[: recipe.held_out or 4])
    shown = replace(pictures, images=tuple(pictures.images[index] for index in chosen))
    if not recipe.held_out:
        return pictures, shown
    rest = tuple(picture for index, picture in enumerate(pictures.images) if index not in chosen)
    return replace(pictures, images=rest), shown


def _own_gpu(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return device


def _config(
    recipe: Recipe, start: Start, material: _Labels | _Captions, seed: int, network: AggregationNetwork
) -> dict[str, Any]:
    """All that the run's numbers depend on, and where they came from."""
    return {
        "recipe": recipe.plain(),
        "seed": seed,
        "start": {"weights": start.weights, "encoder_weights": start.encoder_weights},
        "weights_digest": content_hash(network),
        **material.described(),
        "versions": {"segvoc": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _write_model(
    folder: RunFolder, recipe: Recipe, told: dict[str, Any], weights: dict[str, Tensor], config: dict[str, Any]
) -> None:
    record: dict[str, Any] = {
        "format": FORMAT,
        "origin": "trained by segvoc train",
        "licence": "that of the weights it started from and of its pictures",
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "training": {key: config[key] for key in ("recipe", "seed", "start")},
        **told,
    }
    if recipe.options.chosen():
        record["options"] = recipe.options.chosen()
    write_weights(folder.path / "model.safetensors", weights, recipe.model, **record)

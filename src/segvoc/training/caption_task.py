"""Captioned images as a training task: batches of frozen features, and the losses of SynSeg."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.utils.data import Dataset

from segvoc.checkpoints.origins import content_hash
from segvoc.data.captions.caption_index import PROBLEMS_KEPT, CaptionDataset, build_index
from segvoc.data.captions.feature_encoding import (
    FrozenEncoders,
    encode_images,
    encode_phrases,
    image_cache,
    phrase_cache,
    resize_to_square,
)
from segvoc.data.captions.phrases import CleaningRules
from segvoc.data.captions.sources import find_captions
from segvoc.data.feature_cache import FeatureCache
from segvoc.data.training.training_set import ShardedSampler, epoch_order, read_ahead, seed_of
from segvoc.distributed import Processes, available_cores
from segvoc.encoders.vocabulary_encoder import VocabularyEncoder
from segvoc.errors import InputError, SegvocError, UsageError
from segvoc.layers.precision import at_least_float32
from segvoc.networks.base import SegmentationNetwork
from segvoc.networks.syn_seg import SynSeg
from segvoc.storage.files import digest_of
from segvoc.training.objectives.losses import TERMS, SynergyLosses
from segvoc.training.recipe import Recipe
from segvoc.training.tasks import StepInfo
from segvoc.vocabulary import Vocabulary


class CaptionObjective(nn.Module):
    """The four losses of a batch and their weighted sum, "loss".

    "activation" is the mean of the activation maps; a value near 0 or 1 means that the maps have collapsed.
    """

    def __init__(self, network: SynSeg, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        config = recipe.captions
        self.losses = SynergyLosses(version=config.loss_version, eps=config.loss_eps, active=config.active_threshold)
        self.weights = {term: getattr(config, f"{term}_weight") for term in TERMS}

    def forward(
        self, taps: Sequence[Float[Tensor, "B L _"]], phrases: Float[Tensor, "M C"], owner: Int[Tensor, " M"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the losses of a batch.

        Args:
            taps: tokens of intermediate blocks of the image encoder.
            phrases: embeddings of all phrases of all images, not normalized.
            owner: for each phrase, its image's position in the batch.

        Returns:
            "loss", the weighted sum; each term by name; and "activation". Only "loss" has a gradient.
        """
        vectors, logits = self.network.learn(taps, phrases, owner)
        # similarities near 1 need more digits than bfloat16 has, to which autocast would round their products
        with torch.autocast(phrases.device.type, enabled=False):
            foreground, background = at_least_float32(vectors.foreground), at_least_float32(vectors.background)
            terms = self.losses(foreground, background, at_least_float32(phrases), owner, len(taps[0]))
        loss = torch.stack([weight * terms[term] for term, weight in self.weights.items()]).sum()
        detached = {term: value.detach() for term, value in terms.items()}
        return {"loss": loss, **detached, "activation": logits.detach().sigmoid().mean()}


_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class CaptionFiles:
    """Where the captioned images for training are, and where their index and features are stored."""

    captions: str | os.PathLike[str]
    """A folder, a caption file, or tars; see `find_captions`."""
    images: str | os.PathLike[str] | None = None
    """The folder of the images that a caption file names; by default the file's own folder."""
    features: Path | None = None
    """The folder of the index and the cached features, which runs may share; by default one in the run folder."""


class CaptionBatch(NamedTuple):
    """Features of B images and their M phrases. If no image can be read, B and M are 0."""

    taps: tuple[Float[Tensor, "B _ _"], ...]
    """Tokens of intermediate blocks of the image encoder; length and width may differ between blocks."""
    phrases: Float[Tensor, "M C"]
    """Embeddings of all phrases of all images, not normalized."""
    owner: Int[Tensor, " M"]
    """For each phrase, its image's position in the batch; ascending."""
    problems: tuple[str, ...]
    """One line for each image that could not be read and was replaced."""


class Draw(NamedTuple):
    """The image at a place in the training order."""

    image: int
    """Position in the data set."""
    mirrored: bool


class CaptionFeatures(NamedTuple):
    """The features of a draw."""

    content: tuple[Shaped[Tensor, "..."], ...]
    """Tokens of the image, or its pixels if features are not cached; empty if no image can be read."""
    phrases: Shaped[Tensor, "M C"]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CachedFeatures(Dataset[CaptionFeatures]):
    """The features of captioned images, by draw; the same whichever process reads them, and in any order."""

    dataset: CaptionDataset
    phrases: FeatureCache
    """Embeddings of the phrases."""
    images: FeatureCache | None
    """Tokens of the images; without them, the images themselves are read."""
    input_size: int
    """Side of the square that images are resized to [px]."""

    def __len__(self) -> int:
        """The number of images."""
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> CaptionFeatures:
        """The image of a draw; if it can't be read, the next one of the set that can."""
        problems: list[str] = []
        for offset in range(len(self)):
            position = (draw.image + offset) % len(self)
            try:
                content = self._content(position, draw.mirrored)
                numbers = self.dataset.entry(position).phrases
                phrases = torch.stack([self.phrases.read(number)["embeddings"] for number in numbers])
            except InputError as error:
                problems.append(str(error))
                continue
            return CaptionFeatures(content, phrases, tuple(problems))
        # not an exception, which would lose its type and show a traceback when it leaves a worker
        return CaptionFeatures((), torch.empty(0, 0), tuple(problems))

    def _content(self, position: int, mirrored: bool) -> tuple[Tensor, ...]:
        if self.images is None:
            pixels = resize_to_square(self.dataset.entry(position).location.read(), self.input_size)
            return (pixels.flip(2) if mirrored else pixels,)
        if (problem := self.images.problem(position)) is not None:
            raise InputError(problem)
        row = self.images.read(position)
        return tuple(row[f"tap{tap}"][int(mirrored)] for tap in range(len(row)))


@dataclass(frozen=True, kw_only=True)
class DrawSampler:
    """The draws for the places that a sampler yields.

    Place p shows image number p modulo N of pass p // N, in an order that depends on the seed, as does mirroring. Draws
    are made in the parent process, since the order of a pass takes memory that grows with the set.
    """

    places: ShardedSampler
    images: int
    seed: int
    mirror: bool

    def __iter__(self) -> Iterator[list[Draw]]:
        for places in self.places:
            yield [self._draw(place) for place in places]

    def __len__(self) -> int:
        return len(self.places)

    def _draw(self, place: int) -> Draw:
        order = epoch_order(self.images, self.seed, place // self.images)
        mirrored = self.mirror and bool(seed_of(self.seed, "mirror", place) & 1)
        return Draw(int(order[place % self.images]), mirrored)


@dataclass(frozen=True, kw_only=True)
class CaptionTask:
    """Training on captioned images; see `TrainingTask`."""

    features: CachedFeatures
    encoders: FrozenEncoders
    """Encode the images whose features are not cached."""
    seed: int
    """Seed of the order of images and of mirroring."""
    mirror: bool
    """Whether half of the images are mirrored."""

    def __len__(self) -> int:
        """The number of images in one pass."""
        return len(self.features)

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> CaptionObjective:
        """The network together with SynSeg's losses."""
        assert isinstance(network, SynSeg)
        return CaptionObjective(network, recipe)

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[CaptionBatch]:
        """The batches of a sampler's places, read by `workers` processes (0: by this one)."""
        draws = DrawSampler(places=sampler, images=len(self), seed=self.seed, mirror=self.mirror)
        for batch in read_ahead(self.features, draws, _collate, workers, pinned=pinned):
            if self.features.images is not None or not batch.taps:
                yield batch
                continue
            with torch.no_grad():
                taps = self.encoders.images(batch.taps[0].to(self.encoders.device, non_blocking=True).float())
            yield batch._replace(taps=taps)

    def inputs(
        self, batch: CaptionBatch, info: StepInfo, device: torch.device
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Tokens, phrases, and the image of each phrase, on the device.

        Raises:
            InputError: the batch is empty, since no image can be read.
        """
        if not batch.taps:
            raise InputError(f"none of the {len(self)} captioned images can be read; {batch.problems[0]}")
        to = {"device": device, "non_blocking": True}
        taps = tuple(tap.to(**to).float() for tap in batch.taps)
        return taps, batch.phrases.to(**to).float(), batch.owner.to(**to)


def open_captions(
    files: CaptionFiles,
    recipe: Recipe,
    folder: Path,
    processes: Processes,
    warn: Callable[[str], None],
    *,
    silent: bool = False,
) -> CaptionDataset:
    """The data set of a recipe. The first process builds its index; all processes read it.

    `warn` receives a line for the first captions and images that are skipped, and the number of the others.

    Raises:
        UsageError: no image has a phrase, the captions can't be read, or the extractor is not installed.
        OutputError: the index can't be written.
    """
    config = recipe.captions
    rules = CleaningRules(
        excluded=config.excluded_words,
        match=config.match,
        most=config.max_phrases,
        determiners=config.determiners,
    )

    def build() -> Path:
        problems: list[str] = []
        source = find_captions(files.captions, files.images, on_problem=problems.append)
        for problem in problems[:PROBLEMS_KEPT]:
            warn(problem)
        if more := len(problems[PROBLEMS_KEPT:]):
            warn(f"{more} more problems in {files.captions}")
        workers = min(recipe.runtime.num_workers, available_cores())
        return build_index(source, folder, config.extractor, rules, workers=workers, on_problem=warn, silent=silent)

    return CaptionDataset(_by_first(processes, build))


def open_caption_task(
    encoders: FrozenEncoders,
    dataset: CaptionDataset,
    folder: Path,
    *,
    seed: int,
    mirror: bool = True,
    cached: bool = True,
    workers: int = 0,
    processes: Processes = Processes(),  # noqa: B008
    warn: Callable[[str], None] = lambda message: None,
    silent: bool = False,
) -> CaptionTask:
    """The task of a data set, after computing the features that are not cached yet.

    With `mirror`, half of the images are mirrored, and the features of mirrored images are stored as well. Unless they
    are `cached`, images are encoded in every pass, and only phrases are stored. `workers` processes read images (0:
    this one does), and `warn` receives a line for each image that can't be read.

    Raises:
        OutputError: a file can't be written; finished ones are kept.
        UsageError: no image can be read, or files of another process are missing.
    """
    phrases = phrase_cache(folder, dataset, encoders)
    encode_phrases(phrases, dataset, encoders, own_shards(phrases, processes), silent=silent)
    images = None
    if cached:
        images = image_cache(folder, dataset, encoders, mirrored=mirror)
        own = own_shards(images, processes)
        encode_images(images, dataset, encoders, own, mirrored=mirror, workers=workers, on_problem=warn, silent=silent)
    processes.gather(None)  # wait until all have finished
    for cache in filter(None, (phrases, images)):
        if missing := cache.missing():
            raise UsageError(
                f"{str(cache.path(missing[0]))!r} and {len(missing) - 1} other files are missing; all processes need "
                "the same folder and the same images"
            )
    if images is not None and all(images.problem(row) is not None for row in range(len(dataset))):
        raise UsageError(f"no image of {dataset.name!r} can be read; {images.problem(0)}")
    features = CachedFeatures(dataset=dataset, phrases=phrases, images=images, input_size=encoders.input_size)
    return CaptionTask(features=features, encoders=encoders, seed=seed, mirror=mirror)


def own_shards(cache: FeatureCache, processes: Processes) -> list[int]:
    """The missing shards that this process computes: an even share of what is missing for the first process."""
    # the others may already see files that are being written
    missing = processes.gather(cache.missing())[0]
    return processes.share(missing)


def frozen_encoders(network: SynSeg, templates: Sequence[str], side: int) -> FrozenEncoders:
    """The encoders of a network as functions; a phrase's embedding is the mean over its prompts, as in inference."""
    encode = VocabularyEncoder(network.text_encoder, templates)
    device = next(network.image_encoder.parameters()).device
    # the weights don't say which blocks are tapped, and how pixels are normalized
    tapped = str(getattr(network.image_encoder, "config", ""))
    pixels_as = getattr(network.image_encoder, "pixels", "clip")
    reading = tapped if pixels_as == "clip" else f"{tapped} {pixels_as}"

    def images(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return network.image_encoder.tokens(pixels, dense=False).taps  # pyright: ignore[reportCallIssue]

    def texts(phrases: Sequence[str]) -> Tensor:
        return encode(Vocabulary(phrases, synonyms="first")).mean(dim=1)

    return FrozenEncoders(
        input_size=side,
        images=images,
        texts=texts,
        image_digest=digest_of(content_hash(network.image_encoder), reading, side),
        text_digest=digest_of(content_hash(network.text_encoder), list(templates)),
        device=device,
    )


def _by_first(processes: Processes, work: Callable[[], _Result]) -> _Result:
    """Run `work` in the first process and return its result, or raise its error, in all processes."""
    outcome: _Result | SegvocError | None = None
    if processes.first:
        try:
            outcome = work()
        except SegvocError as error:
            outcome = error
    result = processes.gather(outcome)[0]
    if isinstance(result, SegvocError):
        raise result
    return cast(_Result, result)


def _collate(samples: Sequence[CaptionFeatures]) -> CaptionBatch:
    problems = tuple(problem for sample in samples for problem in sample.problems)
    good = [sample for sample in samples if sample.content]
    if not good:
        return CaptionBatch((), torch.empty(0, 0), torch.empty(0, dtype=torch.int64), problems)
    taps = tuple(torch.stack(tap) for tap in zip(*(sample.content for sample in good), strict=True))
    counts = torch.tensor([len(sample.phrases) for sample in good])
    phrases = torch.cat([sample.phrases for sample in good])
    return CaptionBatch(taps, phrases, torch.arange(len(good)).repeat_interleave(counts), problems)

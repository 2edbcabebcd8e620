"""What a frozen network says of labeled images, computed once: the data that words are tuned on.

Each image is seen in a few augmented views. Of a view, the cache holds the encoder's feature maps, the logits of the
words by their text, and the labels, the latter two on the grid of the pyramid (`segvoc.teaching.feature_pyramid`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import Dataset

from segvoc.arrays import bilinear
from segvoc.checkpoints.content_hash import content_hash
from segvoc.data.captions.images import file_fingerprint
from segvoc.data.feature_cache import FeatureCache
from segvoc.data.training.training_set import IGNORED, ShardedSampler, TrainingSet, epoch_order, read_ahead, seed_of
from segvoc.distributed import Processes
from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import InputError
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from segvoc.progress import Progress
from segvoc.records import to_json
from segvoc.teaching.feature_pyramid import FINER
from segvoc.teaching.features import CLASS_LOGITS, pyramid_inputs, read_features
from segvoc.training.recipe import Recipe
from segvoc.training.tasks import StepInfo
from segvoc.training.tuned_words import TunedWords, TunedWordsObjective

VIEWS_LAYOUT = 1
"""Version of the cached features; those of another version are computed anew."""

VIEWS_PER_SHARD = 8

ZERO_SHOT, LABELS = "zero_shot", "labels"
"""Names in the cache, beside those of the feature maps."""


class ViewBatch(NamedTuple):
    """Cached views of B images."""

    maps: tuple[Float[Tensor, "B _ _ _"], ...]
    """The feature maps, the coarse one first; empty if no image can be read."""
    zero_shot: Float[Tensor, "B K H W"]
    """The words' logits by text."""
    labels: Int[Tensor, "B H W"]
    """The index of each cell's word."""
    problems: tuple[str, ...]
    """One line for each image that could not be read."""


@dataclass(frozen=True, kw_only=True)
class CachedViews(Dataset[ViewBatch]):
    """The views of a training set, each as a batch of one."""

    cache: FeatureCache
    """Where they are."""

    def __len__(self) -> int:
        """Number of views."""
        return self.cache.rows

    def __getitem__(self, row: int) -> ViewBatch:
        """A view."""
        problem = self.cache.problem(row)
        if problem is not None:
            return ViewBatch((), torch.empty(0), torch.empty(0), (problem,))
        found = {name: value[None] for name, value in self.cache.read(row).items()}
        zero_shot, labels = found.pop(ZERO_SHOT), found.pop(LABELS)
        return ViewBatch(tuple(found[name] for name in sorted(found)), zero_shot, labels, ())


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The rows of a sampler's positions: each epoch shows all views in an order of its own."""

    positions: ShardedSampler
    rows: Sequence[int]
    seed: int

    def __iter__(self) -> Iterator[list[int]]:
        count = len(self.rows)
        for positions in self.positions:
            yield [self.rows[int(epoch_order(count, self.seed, p // count)[p % count])] for p in positions]

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, kw_only=True)
class TunedWordsTask:
    """The training task of tuned words; see `TrainingTask`."""

    views: CachedViews
    """What is learned from."""
    rows: tuple[int, ...]
    """The views whose image could be read."""
    mean: Float32[np.ndarray, " D"]
    """Mean of each feature over the views, in the order in which classifiers read them."""
    scale: Float32[np.ndarray, " D"]
    """Their standard deviations."""
    channels: dict[str, int]
    """Channels of each map."""
    cells: Int[np.ndarray, " K1"]
    """Labeled cells of each word, and of none of them."""
    pixels: Int[np.ndarray, " K"]
    """The same in pixels of the augmented images."""
    images: Int[np.ndarray, " K"]
    """Images that show each word."""
    image_numbers: tuple[int, ...]
    """Indices of the images with labels."""
    seed: int
    """Seed of the order."""

    def objective(self, network: SegmentationNetwork, recipe: Recipe) -> TunedWordsObjective:
        """See `TrainingTask`."""
        return TunedWordsObjective(network, recipe)

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool) -> Iterator[ViewBatch]:
        """The batches of a sampler. They are mapped into memory, so no worker processes are needed."""
        rows = _Rows(positions=sampler, rows=self.rows, seed=self.seed)
        return read_ahead(self.views, rows, _collate, 0, pinned=pinned)

    def inputs(
        self, batch: ViewBatch, info: StepInfo, device: torch.device
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Logits by text, labels and standardized maps, on the device."""
        to = {"device": device, "non_blocking": True}
        named = dict(zip(sorted(self.map_names), (one.to(**to).float() for one in batch.maps), strict=True))
        ordered = {name: named[name] for name in self.map_names}
        whole = {name: ordered.get(name, torch.empty(1, size, 0, 0)) for name, size in self.channels.items()}
        maps = pyramid_inputs(whole, self.mean, self.scale)
        return batch.zero_shot.to(**to).float(), batch.labels.to(**to).long(), tuple(maps)

    @property
    def map_names(self) -> tuple[str, ...]:
        """Names of the maps that the pyramid reads, the coarse one first."""
        return tuple(name for name in self.channels if name != CLASS_LOGITS)

    def tuned_words(self, recipe: Recipe, seed: int) -> TunedWords:
        """New pyramid and classifiers for these features."""
        coarse, *fine = (self.channels[name] for name in self.map_names)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, "weights"))
            tuned = TunedWords(recipe.words, coarse, sum(fine), len(self.pixels))
        # words without labels have no classifier; their weight doesn't matter
        tuned.frequency.copy_(torch.from_numpy(np.maximum(self.cells, self.cells.sum() * 1e-4)))
        return tuned


def open_tuned_words_task(
    segmenter: NetworkSegmenter,
    text: EncodedWords,
    images: TrainingSet,
    recipe: Recipe,
    folder: Path,
    channels: dict[str, int],
    *,
    processes: Processes,
    warn: Callable[[str], None],
    silent: bool,
) -> TunedWordsTask:
    """Compute what isn't cached yet of the views of a training set.

    Args:
        segmenter: the frozen network.
        text: the words' embeddings.
        images: the images, with their augmentation.
        recipe: how many views, of which size.
        folder: where the features are kept.
        channels: channels of each feature map that classifiers read.
        processes: all processes of the run, which share the work.
        warn: called with a line for each image that can't be read.
        silent: whether to hide progress.

    Raises:
        OutputError: a file can't be written; finished ones are kept.
        InputError: no image can be read.
    """
    count = len(images.images)
    rows = count * recipe.words.views
    files = images.images.images
    prints = [(one.stem, file_fingerprint(one.image), file_fingerprint(one.labels), one.stamp()) for one in files]
    settings = (
        VIEWS_LAYOUT,
        to_json(recipe.data),
        list(images.vocabulary.words),
        images.images.background,
        images.seed,
        *(() if images.transform is None else (images.transform.name,)),
    )
    cache = FeatureCache.of(
        folder,
        "views",
        ((row, prints) for row in range(rows)),
        VIEWS_PER_SHARD,
        *settings,
        content_hash(segmenter.network),
        segmenter.dtype,
    )
    missing = processes.share(processes.gather(cache.missing())[0])
    with Progress("encoding views", total=sum(len(cache.span(one)) for one in missing), silent=silent) as progress:
        for shard in missing:
            encoded = [_encoded(segmenter, text, images, row, recipe) for row in cache.span(shard)]
            problems = {row: one for row, one in enumerate(encoded) if isinstance(one, str)}
            good = [one for one in encoded if not isinstance(one, str)]
            blank = {name: torch.zeros_like(value) for name, value in good[0].items()} if good else {}
            tensors = [blank if isinstance(one, str) else one for one in encoded]
            names = blank or {LABELS: None}
            cache.write(
                shard,
                {name: torch.stack([one.get(name, torch.empty(0)) for one in tensors]) for name in names},
                problems,
            )
            for problem in problems.values():
                warn(f"passed over: {problem}")
            progress.update(len(encoded))
    processes.gather(None)  # wait until all have finished
    return _task(CachedViews(cache=cache), channels, images, recipe)


def _encoded(
    segmenter: NetworkSegmenter, text: EncodedWords, images: TrainingSet, row: int, recipe: Recipe
) -> dict[str, Tensor] | str:
    """What the cache holds of a view, or why it can't be made."""
    sample = images[row]
    if sample.problems:
        return sample.problems[0]  # what the sample shows instead has views of its own
    side = recipe.data.input_size
    pixels = bilinear(sample.image[None].float(), (side, side)).numpy()
    found = segmenter.find_features(pixels)
    logits, _ = segmenter.compare(found, text, replace(segmenter.protocols["single"], selection=None))
    maps = {name: value for name, value in read_features(found).items() if name != CLASS_LOGITS}
    coarse = next(iter(maps.values()))
    grid = (FINER * int(coarse.shape[2]), FINER * int(coarse.shape[3]))
    rows, columns = (
        (2 * torch.arange(cells) + 1) * size // (2 * cells)
        for cells, size in zip(grid, sample.labels.shape, strict=True)
    )
    kept = {name: value[0].half().cpu() for name, value in maps.items()}
    labels = sample.labels[rows][:, columns].int()
    return kept | {ZERO_SHOT: bilinear(logits, grid)[0].half().cpu(), LABELS: labels}


def _task(views: CachedViews, channels: dict[str, int], images: TrainingSet, recipe: Recipe) -> TunedWordsTask:
    """The task, with the statistics of its views."""
    kept = [name for name in channels if name != CLASS_LOGITS]
    words, area, rows = len(images.vocabulary), 0, list[int]()
    cells, shown = np.zeros(words + 1, np.int64), np.zeros((len(images.images), words), bool)
    sums = {name: [np.zeros(channels[name]), np.zeros(channels[name]), 0] for name in kept}
    problem = ""
    for row in range(len(views)):
        view = views[row]
        if not view.maps:
            problem = view.problems[0]
            continue
        of_word = np.bincount(view.labels[view.labels != IGNORED].numpy(), minlength=words + 1)
        rows.append(row)
        cells += of_word
        area = recipe.data.crop_size**2 // view.labels.numel()
        image = int(epoch_order(len(images.images), images.seed, row // len(images.images))[row % len(images.images)])
        shown[image] |= of_word[:words] > 0
        for name, one in zip(sorted(kept), view.maps, strict=True):
            x = one[0].double().flatten(1).numpy()
            sums[name][0] += x.sum(axis=1)
            sums[name][1] += np.square(x).sum(axis=1)
            sums[name][2] += x.shape[1]
    if not cells.any():
        raise InputError(f"no image has labels that can be learned from{f'; {problem}' if problem else ''}")
    mean, scale = np.zeros(sum(channels.values())), np.ones(sum(channels.values()))
    ends = dict(zip(channels, np.cumsum(list(channels.values())).tolist(), strict=True))
    for name, (total, squares, count) in sums.items():
        own = slice(ends[name] - channels[name], ends[name])
        mean[own] = total / count
        scale[own] = np.sqrt(np.maximum(squares / count - mean[own] ** 2, 0)) + 1e-3
    return TunedWordsTask(
        views=views,
        rows=tuple(rows),
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        channels=channels,
        cells=cells,
        pixels=cells[:words] * area,
        images=shown.sum(axis=0),
        image_numbers=tuple(np.flatnonzero(shown.any(axis=1)).tolist()),
        seed=images.seed,
    )


def _collate(samples: Sequence[ViewBatch]) -> ViewBatch:
    maps = tuple(torch.cat(each) for each in zip(*(one.maps for one in samples), strict=True))
    zero_shot, labels = (torch.cat([getattr(one, name) for one in samples]) for name in (ZERO_SHOT, LABELS))
    return ViewBatch(maps, zero_shot, labels, ())

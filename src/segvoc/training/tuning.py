"""Runs that tune words (`method=words`): data, validated model, and output."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from segvoc.checkpoints.origins import content_hash
from segvoc.data.captions.sources import file_fingerprint
from segvoc.data.feature_cache import FeatureCache
from segvoc.data.labeled_images import LabeledImages
from segvoc.data.training.training_set import IGNORED, ShardedSampler, TrainingSet, epoch_order, seed_of
from segvoc.encoders.word_encoder import EncodedWords
from segvoc.errors import InputError, UsageError
from segvoc.inference.taught.calibration import LabeledLogits, fitted_temperature
from segvoc.inference.taught.examples import Cells, sampled_cells
from segvoc.inference.taught.features import (
    CLASS_LOGITS,
    FINER,
    FeaturePyramid,
    channels_of,
    pyramid_inputs,
    pyramid_shapes,
    read_features,
)
from segvoc.inference.taught.taught_words import TaughtQuery, TaughtWord, TaughtWords, TeachingRecord, mean_features
from segvoc.inference.windows import views
from segvoc.models.network_segmenter import NetworkSegmenter
from segvoc.networks.base import SegmentationNetwork
from segvoc.runtime.arrays import bilinear
from segvoc.runtime.distributed import Processes
from segvoc.runtime.progress import Progress, announced
from segvoc.runtime.version import __version__
from segvoc.storage.records import to_json
from segvoc.training.caption_task import CaptionData
from segvoc.training.loop import ForwardPass
from segvoc.training.losses import is_labeled
from segvoc.training.objectives import TrainingObjective
from segvoc.training.recipe import Recipe, TunedWordsConfig
from segvoc.training.run_folder import kept_validation
from segvoc.training.training_data import LabelData


class TunedWords(nn.Module):
    """The pyramid and the classifiers, in place of the aggregation during training."""

    frequency: Tensor

    def __init__(self, config: TunedWordsConfig, coarse: int, fine: int, words: int) -> None:
        """Initialize at random; `coarse` and `fine` are the channels of the coarse map and of all finer ones."""
        super().__init__()
        self.dropout = nn.Dropout2d(config.dropout)
        self.weights = nn.ParameterDict()
        for name, shape in pyramid_shapes(config.pyramid_channels, coarse, fine).items():
            value = torch.empty(shape)
            if name.endswith("_norm"):
                value[..., 0, :], value[..., 1, :] = 1.0, 0.0
            else:
                for one in value if name == "context" else (value,):
                    nn.init.kaiming_uniform_(one, a=5**0.5)
            self.weights[name] = nn.Parameter(value)
        # with zeros, the pyramid learns more slowly
        self.classifiers = nn.Parameter(0.1 * torch.randn(words, config.pyramid_channels))
        self.bias = nn.Parameter(torch.zeros(words))
        self.register_buffer("frequency", torch.ones(words + 1))

    def forward(self, maps: Sequence[Tensor], zero_shot: Float[Tensor, "B K h w"]) -> Float[Tensor, "B K H W"]:
        """The logits on the pyramid's grid, from standardized maps (the coarse one first) and the logits by text."""
        found = FeaturePyramid(**self.weights)(maps, self.dropout)
        scores = torch.einsum("kc,bchw->bkhw", self.classifiers, found) + self.bias[:, None, None]
        return bilinear(zero_shot, (found.shape[2], found.shape[3])) + scores


class TunedWordsObjective(TrainingObjective):
    """The loss of a batch: softmax cross-entropy over the words and "none of them", whose logit is 0.

    A word's weight is its number of labeled cells to the power of -`class_weight_power`.
    """

    def __init__(self, network: SegmentationNetwork, recipe: Recipe) -> None:
        super().__init__(network, recipe)
        self.power = recipe.words.class_weight_power

    def divisor(self, zero_shot: Tensor, labels: Int[Tensor, "B H W"], maps: Sequence[Tensor]) -> Int[Tensor, ""]:
        """The number of labeled cells that the loss averages over."""
        return is_labeled(labels, zero_shot.shape[1]).sum()

    def forward(
        self,
        zero_shot: Float[Tensor, "B K h w"],
        labels: Int[Tensor, "B H W"],
        maps: Sequence[Tensor],
        cells: Float[Tensor, ""] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Compute the loss, from the network's logits by text and standardized feature maps, the coarse one first.

        A cell's label is the index of its word, or unlabeled (`is_labeled`); K means none of them. The sum over labeled
        cells is divided by `cells`, by default their number.
        """
        tuned = cast(TunedWords, self.network.aggregation)
        logits = tuned(maps, zero_shot)
        logits = torch.cat((logits, logits.new_zeros(len(logits), 1, *logits.shape[2:])), dim=1)
        weight = tuned.frequency**-self.power
        weight = weight / (weight * tuned.frequency).sum() * tuned.frequency.sum()
        cells = self.divisor(zero_shot, labels, maps).clamp(min=1) if cells is None else cells
        labels = labels.where(is_labeled(labels, zero_shot.shape[1]), IGNORED)
        loss = F.cross_entropy(logits, labels, weight, ignore_index=IGNORED, reduction="sum") / cells
        return {"loss": loss, "segmentation": loss.detach()}


ZERO_SHOT, LABELS = "zero_shot", "labels"
"""Names in the cache, besides the feature maps."""


class ViewBatch(NamedTuple):
    """Cached views of B images."""

    maps: dict[str, Float[Tensor, "B _ _ _"]]
    """The feature maps by name."""
    zero_shot: Float[Tensor, "B K H W"]
    """The words' logits by text."""
    labels: Int[Tensor, "B H W"]
    """The index of each cell's word."""
    problems: tuple[str, ...] = ()


def _encoded(
    segmenter: NetworkSegmenter, text: EncodedWords, images: TrainingSet, row: int, recipe: Recipe
) -> dict[str, Tensor] | str:
    """Compute a view's cache entry, or return the problem."""
    sample = images[row]
    if sample.problems:
        return sample.problems[0]  # the replacement image has separate views
    side = recipe.data.input_size
    pixels = bilinear(sample.image[None].float(), (side, side)).numpy()
    found = segmenter.encode_views(pixels)
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


TUNED_WORDS_FILE = "tuned.words.safetensors"
"""File of only the tuned words in the run folder, for --taught."""


class Tuning:
    """A run that tunes words: its training task (see `TrainingTask`), the current model, and the tuned words."""

    objective = TunedWordsObjective
    """See `TrainingTask`."""

    def __init__(
        self,
        plain: Callable[[int], NetworkSegmenter],
        data: LabelData | CaptionData,
        folder: Path,
        processes: Processes,
        warn: Callable[[str], None],
        *,
        silent: bool,
    ) -> None:
        """Compute the missing features of the images, shared by all processes, and build the trained parts.

        `plain` maps a number of steps to the model without tuned words. `UsageError`: the network can't be taught
        words, or the images have captions; `InputError`: no image can be read.
        """
        if isinstance(data, CaptionData):
            raise UsageError("tuning words needs label maps rather than captions; leave out method=words")
        segmenter, images, recipe = plain(0), data.training_set, data.recipe
        with announced("encoding the classes' names", silent=silent):
            text = segmenter.encode_words(images.vocabulary)
            probed = segmenter.probed_features()
        self.plain, self.data, self.probe, self.channels = plain, data, mean_features(probed), channels_of(probed)
        self.cache = _view_cache(segmenter, images, recipe, folder)

        def encode(rows: range, progress: Progress) -> tuple[dict[str, Tensor], dict[int, str]]:
            views, problems = dict[int, dict[str, Tensor]](), dict[int, str]()
            for place, row in enumerate(rows):
                view = _encoded(segmenter, text, images, row, recipe)
                if isinstance(view, str):
                    problems[place] = view
                else:
                    views[place] = view
                progress.update()
            for problem in problems.values():
                warn(f"passed over: {problem}")
            some = next(iter(views.values()), {LABELS: torch.empty(0)})
            blank = {name: torch.zeros_like(value) for name, value in some.items()}
            every = [views.get(place, blank) for place in range(len(rows))]
            return {name: torch.stack([view[name] for view in every]) for name in blank}, problems

        self.cache.fill(encode, processes, "encoding views", silent=silent)
        cells = self._measure_views()
        coarse, *fine = (size for name, size in self.channels.items() if name != CLASS_LOGITS)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(images.seed, "weights"))
            tuned = TunedWords(recipe.words, coarse, sum(fine), len(images.vocabulary))
        # unlabeled words have no classifier; their weight is irrelevant
        tuned.frequency.copy_(torch.from_numpy(np.maximum(cells, cells.sum() * 1e-4)))
        self.tuned = tuned.to(segmenter.device)
        # the trained network: `tuned` behind the frozen encoders
        self.network = SegmentationNetwork(segmenter.network.image_encoder, segmenter.network.text_encoder, self.tuned)

    def _measure_views(self) -> Int[np.ndarray, " K1"]:
        """Measure the views that can be read; returns the number of labeled cells of each word, and of none of them."""
        cache, images = self.cache, self.data.training_set
        words, area, rows = len(images.vocabulary), 0, list[int]()
        cells, shown = np.zeros(words + 1, np.int64), np.zeros((len(images.images), words), bool)
        ends = dict(zip(self.channels, np.cumsum(list(self.channels.values())).tolist(), strict=True))
        places = {name: slice(end - self.channels[name], end) for name, end in ends.items() if name != CLASS_LOGITS}
        total, squares, count = np.zeros((3, sum(self.channels.values())))
        problem = ""
        for row in range(cache.rows):
            if reason := cache.problem(row):
                problem = f"; {reason}"
                continue
            view = cache.read(row)
            labels = view[LABELS]
            of_word = np.bincount(labels[labels != IGNORED].numpy(), minlength=words + 1)
            rows.append(row)
            cells += of_word
            area = self.data.recipe.data.crop_size**2 // labels.numel()
            order = epoch_order(len(images.images), images.seed, row // len(images.images))
            shown[int(order[row % len(images.images)])] |= of_word[:words] > 0
            for name, place in places.items():
                x = view[name].double().flatten(1).numpy()
                total[place] += x.sum(axis=1)
                squares[place] += np.square(x).sum(axis=1)
                count[place] += x.shape[1]
        if not cells.any():
            raise InputError(f"no image has usable labels{problem}")
        mean, square = total / np.maximum(count, 1), squares / np.maximum(count, 1)
        scale = np.where(count, np.sqrt(np.maximum(square - mean**2, 0)) + 1e-3, 1.0)
        # of each feature, in the order of the classifiers' inputs
        self.mean, self.scale = mean.astype(np.float32), scale.astype(np.float32)
        # pixels of each word in augmented images, and the images that show it
        self.rows, self.pixels, self.shown = rows, cells[:words] * area, shown
        return cells

    def batches(
        self, sampler: ShardedSampler, workers: int, *, pinned: bool, signals: Sequence[int] = ()
    ) -> Iterator[ViewBatch]:
        """The batches of a sampler; memory-mapped, so no workers are needed."""
        for positions in sampler:
            views = [self.cache.read(self._row(position)) for position in positions]
            tensors = {name: torch.stack([view[name] for view in views]) for name in views[0]}
            yield ViewBatch(zero_shot=tensors.pop(ZERO_SHOT), labels=tensors.pop(LABELS), maps=tensors)

    def _row(self, position: int) -> int:
        """Each epoch shuffles all views."""
        epoch, place = divmod(position, len(self.rows))
        return self.rows[int(epoch_order(len(self.rows), self.data.training_set.seed, epoch)[place])]

    def inputs(
        self, batch: ViewBatch, number: ForwardPass, device: torch.device
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Logits by text, labels and standardized maps, on the device."""
        to = {"device": device, "non_blocking": True}
        named = {name: one.to(**to).float() for name, one in batch.maps.items()}
        whole = {name: named.get(name, torch.empty(1, size, 0, 0)) for name, size in self.channels.items()}
        maps = pyramid_inputs(whole, self.mean, self.scale)
        return batch.zero_shot.to(**to).float(), batch.labels.to(**to).long(), tuple(maps)

    def segmenter(self, step: int) -> NetworkSegmenter:
        """The model after some steps; without tuned words before the first."""
        plain = self.plain(step)
        return plain.with_taught(self.words(())) if step else plain

    def words(self, validation: Sequence[dict[str, Any]]) -> TaughtWords:
        """Export the current tuned words, with the scores before and after, lines of validation.jsonl, if known."""
        tuned, images = self.tuned, self.shown.sum(axis=0)
        held_out = bool(validation and self.data.recipe.data.num_val_images)
        before, after = (validation[0], validation[-1]) if held_out else ({}, {})
        shown = np.flatnonzero(images).tolist()
        vocabulary = self.data.training_set.vocabulary.words
        record = TeachingRecord(
            model=str(self.plain(0).origin["preset"]),
            words=tuple(
                TaughtWord(
                    name=vocabulary[index],
                    images=int(images[index]),
                    pixels=int(self.pixels[index]),
                    before=self._iou(before, vocabulary[index]),
                    after=self._iou(after, vocabulary[index]),
                )
                for index in shown
            ),
            channels=self.channels,
            images=int(self.shown.any(axis=1).sum()),
            penalty=None,
            miou_before=_percent(before.get("mean_iou")),
            miou=_percent(after.get("mean_iou")),
            accuracy_before=_percent(before.get("pixel_accuracy")),
            accuracy=_percent(after.get("pixel_accuracy")),
            segvoc=__version__,
            pyramid_channels=self.data.recipe.words.pyramid_channels,
            background=self.data.training_set.images.background,
        )
        return TaughtWords(
            record=record,
            weights=_array(tuned.classifiers)[shown].astype(np.float16),
            bias=_array(tuned.bias)[shown],
            mean=self.mean,
            scale=self.scale,
            probe=self.probe,
            pyramid=FeaturePyramid(**{name: _array(value).astype(np.float16) for name, value in tuned.weights.items()}),
        )

    def _iou(self, scores: dict[str, Any], word: str) -> float | None:
        """The IoU of a word [%]."""
        scored = self.data.validation.classes
        return _percent(scores["iou"][scored.index(word)]) if "iou" in scores and word in scored else None

    def finish(self, weights: dict[str, Tensor], scores: Sequence[dict[str, Any]]) -> tuple[TaughtWords | None, int]:
        """The run's tuned words with their step, or None if they never beat the text on held-out images.

        `weights` are the loop's final ones, the best if images are held out; `scores` the lines of validation.jsonl.
        """
        patience = self.data.recipe.runtime.patience
        best = kept_validation(scores, patience)["step"]
        if patience and best == 0:
            return None, 0
        prefix = "aggregation."
        self.tuned.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        words = self.words([line for line in scores if line["step"] in (0, best) and line["mean_iou"] is not None])
        validation, learned = self.data.validation.images, self.data.training_set.images
        if {one.identity for one in validation.images}.isdisjoint(one.identity for one in learned.images):
            temperature = held_out_temperature(self.plain(best), words, validation)
            words = replace(words, record=replace(words.record, temperature=temperature))
        return words, best


CALIBRATION_IMAGES, CELLS_OF_IMAGE = 32, 500
"""Maximum number of images, and of cells of each, that the temperature is fitted on."""


def held_out_temperature(model: NetworkSegmenter, words: TaughtWords, images: LabeledImages) -> float:
    """The temperature of tuned words' confidence (`fitted_temperature`) on images that they weren't tuned on.

    1 without readable labels of at least two words; validation names images that can't be read.
    """
    vocabulary, random = images.vocabulary, np.random.default_rng(0)
    none = None if images.background is None else vocabulary.words.index(images.background)
    query = TaughtQuery.of((words,), vocabulary.words, len(vocabulary), none)
    text, protocol = model.encode_words(vocabulary), replace(model.protocols["single"], selection=None)
    sampled = list[Cells | None]()
    for index in range(0, len(images), -(-len(images) // CALIBRATION_IMAGES)):
        try:
            image, labels = images.read(index)
        except InputError:
            continue
        features = model.encode_views(views(image, protocol)[:1])
        logits = model.compare(features, text, protocol)[0]
        logits = logits if query is None else query(logits, None, features)
        sampled.append(sampled_cells(read_features(features), logits, labels, index, CELLS_OF_IMAGE, random))
    found = [cells for cells in sampled if cells is not None]
    cells = Cells.joined(found) if found else None
    if cells is None or len(np.unique(cells.labels)) < 2:
        return 1.0
    logits = cells.zero_shot.astype(np.float32)
    return fitted_temperature(LabeledLogits(logits, cells.labels, cells.images, cells.weights))


def _view_cache(segmenter: NetworkSegmenter, images: TrainingSet, recipe: Recipe, folder: Path) -> FeatureCache:
    files = images.images.images
    prints = [(one.stem, file_fingerprint(one.image), file_fingerprint(one.labels), one.stamp()) for one in files]
    settings = (
        1,  # version of the cached features; other versions are recomputed
        to_json(recipe.data),
        list(images.vocabulary.words),
        images.images.background,
        images.seed,
        *(() if images.transform is None else (images.transform.name,)),
        content_hash(segmenter.network),
        segmenter.dtype,
    )
    rows = ((row, prints) for row in range(len(files) * recipe.words.views))
    return FeatureCache.of(folder, "views", rows, 8, *settings)


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy().astype(np.float32)


def _percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)

"""Features of frozen encoders, computed once and kept in a `FeatureCache`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segvoc.data.captions.caption_index import CaptionDataset
from segvoc.data.captions.sources import OnProblem, file_fingerprint
from segvoc.data.feature_cache import FeatureCache
from segvoc.data.reader_processes import batches_of
from segvoc.errors import InputError, OutputError, UsageError
from segvoc.process_settings import WORKER_START
from segvoc.progress import Progress

LAYOUT = 3
"""Version of the cached features; those of another version are computed anew."""

IMAGES_PER_SHARD, IMAGES_PER_BATCH = 128, 32
PHRASES_PER_SHARD, PHRASES_PER_BATCH = 4096, 256


@dataclass(frozen=True, kw_only=True)
class FrozenEncoders:
    """Image and text encoder as functions, which run without gradients and are never trained."""

    input_size: int
    """Side of the square that every image is resized to [px]."""
    images: Callable[[Tensor], tuple[Tensor, ...]]
    """Maps RGB in [0, 255] (B 3 S S) to the tokens of intermediate blocks, each (B L C)."""
    texts: Callable[[Sequence[str]], Tensor]
    """Maps M phrases to embeddings (M C)."""
    image_digest: str
    """Differs whenever the results of `images` may differ: weights, tapped blocks; see `digest_of`."""
    text_digest: str
    """Differs whenever the results of `texts` may differ: weights, prompt templates."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Device of the pixels that `images` takes."""


def image_cache(folder: Path, dataset: CaptionDataset, encoders: FrozenEncoders, *, mirrored: bool) -> FeatureCache:
    """The cache of a set's image features; row n is image n, and its mirror image if asked. Nothing is computed yet."""
    settings = (LAYOUT, encoders.image_digest, encoders.input_size, mirrored)
    return FeatureCache.of(folder, "images", _fingerprints(dataset), IMAGES_PER_SHARD, *settings)


def phrase_cache(folder: Path, dataset: CaptionDataset, encoders: FrozenEncoders) -> FeatureCache:
    """The cache of a set's phrase embeddings; row n is phrase n. Nothing is computed yet."""
    return FeatureCache.of(folder, "phrases", _phrases(dataset), PHRASES_PER_SHARD, LAYOUT, encoders.text_digest)


def encode_phrases(
    cache: FeatureCache,
    dataset: CaptionDataset,
    encoders: FrozenEncoders,
    shards: Sequence[int],
    *,
    silent: bool = False,
) -> None:
    """Compute and write some shards of phrase embeddings.

    Raises:
        OutputError: a file can't be written.
    """
    total = sum(len(cache.span(shard)) for shard in shards)
    with Progress("encoding phrases", total=total, unit="phrase", silent=silent) as progress:
        for shard in shards:
            span = cache.span(shard)
            phrases = dataset.phrase_texts(span.start, span.stop)
            embeddings = []
            for start in range(0, len(phrases), PHRASES_PER_BATCH):
                batch = phrases[start : start + PHRASES_PER_BATCH]
                with torch.no_grad():
                    embeddings.append(encoders.texts(batch).float().cpu())
                progress.update(len(batch))
            cache.write(shard, {"embeddings": torch.cat(embeddings).contiguous()})


def encode_images(
    cache: FeatureCache,
    dataset: CaptionDataset,
    encoders: FrozenEncoders,
    shards: Sequence[int],
    *,
    mirrored: bool,
    workers: int = 0,
    on_problem: OnProblem = lambda message: None,
    silent: bool = False,
) -> None:
    """Compute and write some shards of image features.

    An image that can't be read is reported and noted in its shard; the others are encoded. Memory is that of one shard
    (twice while it is written) and of the images that workers have read ahead.

    `on_problem` receives one line for each image that can't be read; `workers` processes read images (0: this one
    does).

    Raises:
        OutputError: a file can't be written, for example because the disk is full; finished shards stay.
        UsageError: features are too large for float16.
    """
    reader = _Images(dataset, encoders.input_size)
    groups = [
        list(span[start : start + IMAGES_PER_BATCH])
        for span in map(cache.span, shards)
        for start in range(0, len(span), IMAGES_PER_BATCH)
    ]
    read = _read(reader, groups, workers)
    total = sum(len(cache.span(shard)) for shard in shards)
    with Progress("encoding images", total=total, silent=silent) as progress:
        for shard in shards:
            taps: dict[str, Tensor] = {}
            problems: dict[int, str] = {}
            done, rows = 0, len(cache.span(shard))
            while done < rows:
                batch = next(read)
                end = done + len(batch.pixels)
                for number, tap in enumerate(_encoded(encoders, batch.pixels, mirrored=mirrored)):
                    taps.setdefault(f"tap{number}", tap.new_empty(rows, *tap.shape[1:]))[done:end] = tap
                problems |= {done + own: problem for own, problem in batch.problems}
                progress.update(end - done)
                done = end
            _write(cache, shard, taps, problems)
            for problem in problems.values():
                on_problem(problem)


def resize_to_square(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[Tensor, "3 S S"]:
    """An image as the encoders take it: squashed to a square (SynSeg, v2), bilinear with antialiasing."""
    square = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def _fingerprints(dataset: CaptionDataset) -> Iterator[tuple[object, ...]]:
    """A fingerprint of each image: all that its features depend on besides the encoder."""
    archives: dict[str, tuple[object, ...]] = {}
    for name, location, _ in dataset.entries():
        if location.member and location.file not in archives:
            archives[location.file] = file_fingerprint(location.file)
        found = archives[location.file] if location.member else file_fingerprint(location.file)
        yield name, found, location.offset, location.size


def _phrases(dataset: CaptionDataset) -> Iterator[str]:
    for start in range(0, dataset.facts["phrases"], PHRASES_PER_SHARD):
        yield from dataset.phrase_texts(start, start + PHRASES_PER_SHARD)


def _encoded(encoders: FrozenEncoders, pixels: Tensor, *, mirrored: bool) -> tuple[Tensor, ...]:
    """Tokens (B, views, L, C) of images and, if they are stored, of the mirrored images."""
    views = (pixels, pixels.flip(3)) if mirrored else (pixels,)
    with torch.no_grad():
        by_view = [encoders.images(view.to(encoders.device).float()) for view in views]
    taps = [torch.stack(tap, 1).half() for tap in zip(*by_view, strict=True)]
    # checked before they leave the device, since a GPU is faster at it
    if not all(tap.isfinite().all() for tap in taps):
        raise UsageError("the encoder's features don't fit into float16; train with cache_features=false")
    return tuple(tap.cpu() for tap in taps)


def _write(cache: FeatureCache, shard: int, taps: dict[str, Tensor], problems: dict[int, str]) -> None:
    try:
        cache.write(shard, taps, problems)
    except OutputError as error:
        size = sum(tap.nbytes for tap in taps.values())
        left = sum(len(cache.span(other)) for other in cache.missing()) / len(cache.span(shard)) * size
        raise OutputError(f"{error}; finished shards are kept, the others need {left / 1e9:.1f} GB more") from error


class _Read(NamedTuple):
    """A batch of images; those that can't be read are black."""

    pixels: UInt8[Tensor, "B 3 S S"]
    problems: tuple[tuple[int, str], ...]
    """(position in the batch, reason)."""


@dataclass(frozen=True)
class _Images(Dataset[tuple[Tensor, str]]):
    """Resized images by row, each with the reason why it can't be read (empty if it can)."""

    dataset: CaptionDataset
    size: int

    def __getitem__(self, row: int) -> tuple[Tensor, str]:
        try:
            return resize_to_square(self.dataset.entry(row).location.read(), self.size), ""
        except InputError as error:
            return torch.zeros(3, self.size, self.size, dtype=torch.uint8), str(error)


def _read(images: _Images, groups: list[list[int]], workers: int) -> Iterator[_Read]:
    loader = DataLoader(
        images,
        batch_sampler=cast(list, groups),
        num_workers=workers,
        collate_fn=_collate,
        multiprocessing_context=WORKER_START if workers else None,
    )
    fix = "run the same call again, with fewer workers if it happens again"
    return batches_of(loader, "reads images", fix)


def _collate(samples: list[tuple[Tensor, str]]) -> _Read:
    problems = tuple((own, problem) for own, (_, problem) in enumerate(samples) if problem)
    return _Read(torch.stack([pixels for pixels, _ in samples]), problems)

"""Features of frozen towers, computed once and kept on disk.

    FOLDER/pictures-000000-<digest>.safetensors   tap0, tap1, ... (rows, views, tokens, width), float16
    FOLDER/phrases-000000-<digest>.safetensors    embeddings (rows, width), float32

A shard's digest is of all that its content depends on: the tower's weights, the size and the settings, and for each
picture its file's size and time of change. What a kill leaves is whole shards, which are not computed again; a changed
tower never meets features of another one; a changed picture costs its own shard alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from segvoc.data.captions.batches import FrozenEncoders
from segvoc.data.captions.images import CaptionedImages, OnProblem
from segvoc.data.captions.phrases import PhraseSet
from segvoc.data.captions.shards import Shards
from segvoc.errors import InputError, OutputError, UsageError

LAYOUT = 1
"""Of the files; those of another number are made anew."""

PRECISIONS = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """How pictures' features are kept.

    mirrored: each picture's mirror image as well, at twice the size. precision: of the numbers. shard: pictures of a
    file. batch: pictures that go through the tower together (no answer depends on it but for rounding).
    """

    mirrored: bool = True
    precision: Literal["float16", "float32"] = "float16"
    shard: int = 128
    batch: int = 32

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision={self.precision!r} is unknown; it is one of {', '.join(PRECISIONS)}")
        if self.shard < 1 or self.batch < 1:
            raise UsageError(f"shard={self.shard} and batch={self.batch} count pictures; give numbers from 1")


PHRASES_OF_A_SHARD, PHRASES_OF_A_BATCH = 4096, 256


def picture_shards(folder: Path, phrases: PhraseSet, encoders: FrozenEncoders, settings: CacheSettings) -> Shards:
    """Where the features of a set's pictures are, or belong; row n is the n-th picture with a phrase."""
    images = phrases.images.images
    contents = [(images[index].stem, images[index].source.identity()) for index in phrases.pictures]
    depends_on = (LAYOUT, encoders.image_digest, encoders.input_size, settings.mirrored, settings.precision)
    return Shards.of(folder, "pictures", contents, settings.shard, *depends_on)


def phrase_shards(folder: Path, phrases: PhraseSet, encoders: FrozenEncoders) -> Shards:
    """Where the embeddings of its phrases are, or belong; row n is `phrases.phrases[n]`."""
    return Shards.of(folder, "phrases", phrases.phrases, PHRASES_OF_A_SHARD, LAYOUT, encoders.text_digest)


def encode_phrases(
    folder: Path, phrases: PhraseSet, encoders: FrozenEncoders, *, rank: int = 0, ranks: int = 1
) -> Shards:
    """Compute the embeddings that are not there yet; of several processes each its share.

    Raises: OutputError: a file can't be written.
    """
    shards = phrase_shards(folder, phrases, encoders)
    missing = shards.missing(rank, ranks)
    total = sum(len(shards.span(shard)) for shard in missing)
    with tqdm(total=total, desc="phrases", unit="phrase", disable=_quiet(total, rank)) as progress:
        for shard in missing:
            parts = []
            for rows in _parts(shards.span(shard), PHRASES_OF_A_BATCH):
                with torch.no_grad():
                    parts.append(encoders.texts([phrases.phrases[row] for row in rows]).float().cpu())
                progress.update(len(rows))
            shards.write(shard, {"embeddings": torch.cat(parts).contiguous()})
    return shards


def encode_pictures(
    folder: Path,
    phrases: PhraseSet,
    encoders: FrozenEncoders,
    settings: CacheSettings | None = None,
    *,
    workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    on_problem: OnProblem = lambda message: None,
) -> Shards:
    """Compute the features that are not there yet; of several processes each its share of the shards.

    A picture that can't be read is told to `on_problem` and noted in its shard; the others are done. Memory is that of
    one shard (twice while it is written) and of the pictures that workers have read ahead.

    Args:
        folder: of the cache; several sets and towers may share it.
        phrases: the pictures.
        encoders: the towers.
        settings: how to keep the features.
        workers: processes that read pictures (0: this one does).
        rank: of this process among all that share the work.
        ranks: how many these are.
        on_problem: told of each picture that can't be read, in one line.

    Raises:
        OutputError: a file can't be written, for example because the disk is full; finished shards stay.
        UsageError: features are too large for float16.
    """
    settings = settings or CacheSettings()
    shards = picture_shards(folder, phrases, encoders, settings)
    missing = shards.missing(rank, ranks)
    total = sum(len(shards.span(shard)) for shard in missing)
    reader = _Pictures(images=phrases.images, pictures=phrases.pictures, size=encoders.input_size)
    groups = [rows for shard in missing for rows in _parts(shards.span(shard), settings.batch)]
    read = _read(reader, groups, workers)
    with tqdm(total=total, desc="features", unit="picture", disable=_quiet(total, rank)) as progress:
        for shard in missing:
            taps: dict[str, Tensor] = {}
            notes: dict[int, str] = {}
            done, rows = 0, len(shards.span(shard))
            while done < rows:
                batch = next(read)
                end = done + len(batch.pixels)
                for number, tap in enumerate(_encoded(encoders, batch.pixels, settings)):
                    taps.setdefault(f"tap{number}", tap.new_empty(rows, *tap.shape[1:]))[done:end] = tap
                notes |= {done + place: problem for place, problem in batch.problems}
                progress.update(end - done)
                done = end
            _write(shards, shard, taps, notes)
            for problem in notes.values():
                on_problem(problem)
    return shards


def prepared_picture(picture: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[Tensor, "3 S S"]:
    """A picture as the towers see it: squashed to a square, as in the paper (v2), bilinear with antialiasing."""
    square = Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).contiguous()


def _parts(rows: range, size: int) -> list[list[int]]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def _quiet(total: int, rank: int) -> bool | None:
    """One bar where something is to be done, by tqdm's own rule: only on a terminal."""
    return None if total and rank == 0 else True


def _encoded(encoders: FrozenEncoders, pixels: Tensor, settings: CacheSettings) -> tuple[Tensor, ...]:
    """Taps (B, views, tokens, width) of pictures and, where wanted, of their mirror images."""
    views = (pixels, pixels.flip(3)) if settings.mirrored else (pixels,)
    with torch.no_grad():
        by_view = [encoders.images(view.to(encoders.device).float()) for view in views]
    taps = [torch.stack(tap, 1).to(PRECISIONS[settings.precision]) for tap in zip(*by_view, strict=True)]
    # looked at where they are: on a GPU that is quicker
    if not all(tap.isfinite().all() for tap in taps):
        raise UsageError(f"the tower's features don't fit into {settings.precision}; take another precision or dtype")
    return tuple(tap.cpu() for tap in taps)


def _write(shards: Shards, shard: int, taps: dict[str, Tensor], notes: dict[int, str]) -> None:
    try:
        shards.write(shard, taps, notes)
    except OutputError as error:
        size = sum(tap.nbytes for tap in taps.values())
        left = sum(len(shards.span(other)) for other in shards.missing()) / len(shards.span(shard)) * size
        raise OutputError(f"{error}; finished shards stay, the others of all need {left / 1e9:.1f} GB more") from error


class _Read(NamedTuple):
    """Pictures, black where one can't be read; problems: (place in the batch, why)."""

    pixels: UInt8[Tensor, "B 3 S S"]
    problems: tuple[tuple[int, str], ...]


@dataclass(frozen=True, kw_only=True)
class _Pictures(Dataset[tuple[Tensor, str]]):
    """Pictures by row, and what is wrong with them."""

    images: CaptionedImages
    pictures: tuple[int, ...]
    size: int

    def __getitem__(self, row: int) -> tuple[Tensor, str]:
        try:
            return prepared_picture(self.images.read(self.pictures[row]), self.size), ""
        except InputError as error:
            return torch.zeros(3, self.size, self.size, dtype=torch.uint8), str(error)


def _read(pictures: _Pictures, groups: list[list[int]], workers: int) -> Iterator[_Read]:
    loader = DataLoader(
        pictures,
        batch_sampler=cast(list, groups),
        num_workers=workers,
        collate_fn=_together,
        multiprocessing_context="forkserver" if workers else None,
    )
    return cast(Iterator[_Read], iter(loader))


def _together(samples: list[tuple[Tensor, str]]) -> _Read:
    problems = tuple((place, problem) for place, (_, problem) in enumerate(samples) if problem)
    return _Read(torch.stack([pixels for pixels, _ in samples]), problems)

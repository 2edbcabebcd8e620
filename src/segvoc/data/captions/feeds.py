"""Captioned pictures as a network learns from them: an endless row, from the cache or encoded on the way."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.utils.data import Dataset

from segvoc.data.captions.batches import CaptionBatch, FrozenEncoders
from segvoc.data.captions.feature_cache import CacheSettings, encode_phrases, encode_pictures, prepared_picture
from segvoc.data.captions.images import OnProblem
from segvoc.data.captions.phrases import PhraseSet
from segvoc.data.captions.shards import Shards
from segvoc.data.training.training_set import ShardedSampler, pass_order, read_ahead, seed_of
from segvoc.errors import InputError, UsageError


class CaptionSample(NamedTuple):
    """The picture at a place of the row: its taps, or its pixels alone; nothing where no picture can be read."""

    content: tuple[Shaped[Tensor, "..."], ...]
    phrases: Shaped[Tensor, "M C"]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CaptionRow(Dataset[CaptionSample]):
    """Captioned pictures in an order that the seed tells, each pass over all of them in another one.

    Place p of the row holds picture number p modulo N of pass p // N, mirrored or not as (seed, p) say. Nothing depends
    on who reads it, or on what was read before.

    phrases: the pictures and what is said of them. embeddings: of the phrases. features: of the pictures; None: the
    pictures themselves are read, as squares of `input_size`. mirror: whether half of them are mirrored.
    """

    phrases: PhraseSet
    embeddings: Shards
    features: Shards | None
    input_size: int
    mirror: bool
    seed: int

    def __getitem__(self, place: int) -> CaptionSample:
        """The picture at a place of the row; in place of one that can't be read the next of its pass."""
        count = len(self.phrases)
        order = pass_order(count, self.seed, place // count)
        mirrored = self.mirror and bool(seed_of(self.seed, "mirror", place) & 1)
        problems: list[str] = []
        for offset in range(count):
            number = int(order[(place + offset) % count])
            try:
                content = self._content(number, mirrored)
                own = [self.embeddings.read(phrase)["embeddings"] for phrase in self.phrases.of_picture[number]]
            except InputError as error:
                problems.append(str(error))
                continue
            return CaptionSample(content, torch.stack(own), tuple(problems))
        # no exception: one that comes out of a worker has lost its type and brings its traceback along
        return CaptionSample((), torch.empty(0, 0), tuple(problems))

    def _content(self, number: int, mirrored: bool) -> tuple[Tensor, ...]:
        if self.features is None:
            picture = self.phrases.images.read(self.phrases.pictures[number])
            pixels = prepared_picture(picture, self.input_size)
            return (pixels.flip(2) if mirrored else pixels,)
        if (problem := self.features.note(number)) is not None:
            raise InputError(problem)
        row = self.features.read(number)
        return tuple(row[f"tap{tap}"][int(mirrored)] for tap in range(len(row)))


@dataclass(frozen=True, kw_only=True)
class Feed:
    """A row of captioned pictures as batches: see `CaptionFeed`. encoders: of a row without features."""

    row: CaptionRow
    encoders: FrozenEncoders

    def __len__(self) -> int:
        """How many pictures one pass shows."""
        return len(self.row.phrases)

    def batches(self, sampler: ShardedSampler, workers: int, *, pinned: bool = False) -> Iterator[CaptionBatch]:
        """See `CaptionFeed`. Of a row without features this process encodes the pictures."""
        for batch in read_ahead(self.row, sampler, _together, workers, pinned=pinned):
            if self.row.features is not None or not batch.taps:
                yield batch
                continue
            with torch.no_grad():
                taps = self.encoders.images(batch.taps[0].to(self.encoders.device).float())
            yield batch._replace(taps=taps)


def open_feed(
    phrases: PhraseSet,
    encoders: FrozenEncoders,
    folder: Path,
    *,
    seed: int,
    mirror: bool = True,
    cached: bool = True,
    settings: CacheSettings | None = None,
    workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    together: Callable[[], object] = lambda: None,
    on_problem: OnProblem = lambda message: None,
) -> Feed:
    """Compute what is missing in the cache, and read from there.

    Args:
        phrases: the pictures and their phrases.
        encoders: the towers.
        folder: of the cache.
        seed: of the order and the mirroring.
        mirror: whether half of the pictures are mirrored; their mirror images' features are then kept, too.
        cached: without, pictures are encoded anew whenever they come; only phrases are kept.
        settings: how features are kept; `mirrored` of it follows `mirror`.
        workers: processes that read pictures.
        rank: of this process among all that share the work.
        ranks: how many these are.
        together: waits until all processes have called it.
        on_problem: told of each picture that can't be read, in one line.

    Raises:
        OutputError: a file can't be written; finished ones stay.
        UsageError: no picture can be read, or another process' files are missing.
    """
    settings = settings or CacheSettings(mirrored=mirror)
    if settings.mirrored != mirror:
        raise UsageError(f"mirror={mirror} and features with mirrored={settings.mirrored} don't fit; give one for both")
    share = {"rank": rank, "ranks": ranks}
    embeddings = encode_phrases(folder, phrases, encoders, **share)
    features = None
    if cached:
        features = encode_pictures(folder, phrases, encoders, settings, workers=workers, on_problem=on_problem, **share)
    together()
    for shards in filter(None, (embeddings, features)):
        if missing := shards.missing():
            raise UsageError(
                f"{str(shards.path(missing[0]))!r} and {len(missing) - 1} other files are missing; all processes need "
                "the same folder and the same pictures"
            )
    if features is not None and all(features.note(number) is not None for number in range(len(phrases))):
        raise UsageError(f"no picture of {phrases.images.name!r} can be read; {features.note(0)}")
    row = CaptionRow(
        phrases=phrases,
        embeddings=embeddings,
        features=features,
        input_size=encoders.input_size,
        mirror=mirror,
        seed=seed,
    )
    return Feed(row=row, encoders=encoders)


def _together(samples: Sequence[CaptionSample]) -> CaptionBatch:
    problems = tuple(problem for sample in samples for problem in sample.problems)
    good = [sample for sample in samples if sample.content]
    if not good:
        return CaptionBatch((), torch.empty(0, 0), torch.empty(0, dtype=torch.int64), problems)
    taps = tuple(torch.stack(tap) for tap in zip(*(sample.content for sample in good), strict=True))
    counts = torch.tensor([len(sample.phrases) for sample in good])
    phrases = torch.cat([sample.phrases for sample in good])
    return CaptionBatch(taps, phrases, torch.arange(len(good)).repeat_interleave(counts), problems)

"""The pieces that a run consists of: sources are cut into containers, and what is read of them into shards.

A container is what one task reads: some images of a folder, one tar, or one row group of a Parquet file. A shard is
what is labeled and written as a whole: at most so many images and bytes. Where shards begin and end depends on the
source and the two limits alone, so each has a key that is the same in every run.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from segvoc.storage.json_files import digest_of

SourceKind = Literal["images", "webdataset", "parquet"]
"""What a source is made of."""

Unit = tuple[str, int, int]
"""A file of the source: its path below the source, size [bytes] and time of the last change [ns]."""


@dataclass(frozen=True, kw_only=True)
class Container:
    """What one task reads."""

    kind: SourceKind
    units: tuple[Unit, ...]
    """Its files: images, or one tar or Parquet file."""
    row_group: int | None = None
    """Of a Parquet file."""
    stems: tuple[str, ...] = ()
    """The names of the images' results, for a folder of images."""
    images: int | None = None
    """How many images it has, where that is known before it is read."""
    first_row: int = 0
    """Of a row group: the number of its first row in the file."""
    skip: frozenset[int] = field(default=frozenset())
    """Numbers of its shards that were done before."""

    def key(self, number: int) -> str:
        """The key of its shard of a number."""
        return digest_of(self.kind, self.units, self.row_group, number)


@dataclass(frozen=True, kw_only=True)
class BatchImage:
    """An image of a shard: its file, or why there is none."""

    key: str
    """Names it among the results."""
    source: str
    """Where it is, for people and reports."""
    stem: str
    """Name of its results, for results in files."""
    content: bytes = b""
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class Shard:
    """What is labeled and written as a whole."""

    container: Container
    number: int
    """Its number in there, from 0."""
    last: bool
    """Whether it is the last one in there."""
    images: tuple[BatchImage, ...]
    """Its images, in the order of the source."""

    @property
    def key(self) -> str:
        """Its key, the same in every run."""
        return self.container.key(self.number)


@dataclass(frozen=True, kw_only=True)
class ShardLimits:
    """Where shards end."""

    images: int = 128
    bytes: int = 32_000_000
    """Bytes from which on a shard takes no more images; a larger image is a shard of its own."""


def cut(container: Container, images: Iterable[BatchImage], limits: ShardLimits) -> Iterator[Shard]:
    """Cut the images of a container into shards; there is at least one, and those of `Container.skip` are left out.

    At most one shard and one image are in memory.
    """
    number, size, own = 0, 0, list[BatchImage]()
    for image in images:
        if own and (len(own) == limits.images or size + len(image.content) > limits.bytes):
            if number not in container.skip:
                yield Shard(container=container, number=number, last=False, images=tuple(own))
            number, size, own = number + 1, 0, []
        own.append(image)
        size += len(image.content)
    if number not in container.skip:
        yield Shard(container=container, number=number, last=True, images=tuple(own))


def in_groups(units: Sequence[Unit], stems: Sequence[str], limits: ShardLimits) -> Iterator[Container]:
    """Containers of image files, each of which is one shard."""
    size, own, names = 0, list[Unit](), list[str]()
    for unit, stem in zip(units, stems, strict=True):
        if own and (len(own) == limits.images or size + unit[1] > limits.bytes):
            yield Container(kind="images", units=tuple(own), stems=tuple(names), images=len(own))
            size, own, names = 0, [], []
        own.append(unit)
        names.append(stem)
        size += unit[1]
    if own:
        yield Container(kind="images", units=tuple(own), stems=tuple(names), images=len(own))

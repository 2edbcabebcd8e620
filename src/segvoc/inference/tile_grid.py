"""Tiles of a large image: their positions, and their blending weights where they overlap."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float32

from segvoc.errors import UsageError

LEAST_TILE, LARGEST_TILE = 32, 65_535
"""Sides of a tile [px]; smaller tiles show the network too little."""

DEFAULT_TILE = 2048
"""Default side of tiles [px]."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """The tiling of an image."""

    tile: int
    """Side of a tile [px of the image]."""
    overlap: int
    """Minimum overlap of neighboring tiles, over which they are blended [px]."""
    wrap: bool = False
    """Whether the image wraps around horizontally, as 360-degree panoramas do."""

    @classmethod
    def checked(cls, tile: int, overlap: int | None = None, *, wrap: bool = False) -> "Tiling":
        """Validate the side and overlap (default: an eighth of the side); raises `UsageError`."""
        if tile < LEAST_TILE:
            raise UsageError(f"tile={tile} is too small; give a side of {LEAST_TILE} pixels or more")
        if tile > LARGEST_TILE:
            raise UsageError(f"tile={tile} is too large; give a side of at most {LARGEST_TILE} pixels")
        overlap = tile // 8 if overlap is None else overlap
        if not 0 <= overlap <= tile // 2:
            raise UsageError(f"overlap={overlap} doesn't fit tiles of {tile} pixels; give 0 to {tile // 2}")
        return cls(tile=tile, overlap=overlap, wrap=wrap)

    def rows(self, height: int) -> "TileAxis":
        """The tiles from top to bottom of an image [px]."""
        return TileAxis(side=height, tile=self.tile, overlap=self.overlap)

    def columns(self, width: int) -> "TileAxis":
        """The tiles from left to right of an image [px]."""
        return TileAxis(side=width, tile=self.tile, overlap=self.overlap, wrap=self.wrap and width > self.tile)


@dataclass(frozen=True, kw_only=True)
class Share:
    """A tile's contribution to a range of pixels."""

    tile: int
    """Index of the tile along its axis."""
    pixels: slice
    """The range, counted from the tile's first pixel."""
    weights: Float32[np.ndarray, " n"]
    """The tile's weight at each pixel; the weights of all tiles add up to 1."""


@dataclass(frozen=True, kw_only=True)
class TileAxis:
    """The tiles along one axis of an image.

    All have the same size. The last tile is moved back to end at the image's edge; on an axis that wraps, tiles are
    spread evenly, and the last tile continues at the first pixel. Toward a neighbor, a tile's weight falls off over
    `overlap` pixels like sin^2 from its maximum to 0; where tiles overlap more, their weights are normalized to sum 1.
    """

    side: int
    """Pixels along the axis."""
    tile: int
    overlap: int
    wrap: bool = False
    """Tile (the largest side), overlap and wrap are as in `Tiling`."""

    @property
    def size(self) -> int:
        """Side of each tile [px]."""
        return min(self.tile, self.side)

    @cached_property
    def starts(self) -> list[int]:
        """The first pixel of each tile."""
        stride = self.tile - self.overlap
        if self.wrap:
            count = -(-self.side // stride)
            return [number * self.side // count for number in range(count)]
        count = max(0, -(-(self.side - self.tile) // stride)) + 1
        return [min(number * stride, self.side - self.size) for number in range(count)]

    def __len__(self) -> int:
        return len(self.starts)

    def cell(self, number: int) -> slice:
        """The pixels from the start of a tile to the start of the next."""
        end = self.starts[number + 1] if number + 1 < len(self) else self.side
        return slice(self.starts[number], end)

    def first_tile(self, number: int) -> int:
        """The first tile that overlaps the cell of this tile; for an axis that doesn't wrap."""
        return next(tile for tile, start in enumerate(self.starts) if start + self.size > self.starts[number])

    def shares(self, pixels: slice) -> Iterator[tuple[slice, list[Share]]]:
        """Cut a range of pixels into pieces, each covered by the same tiles throughout, with these tiles' shares."""
        places = [place for place in self._places if place[1] < pixels.stop and place[1] + self.size > pixels.start]
        edges = {edge for _, start in places for edge in (start, start + self.size)}
        cuts = sorted({pixels.start, pixels.stop, *(edge for edge in edges if pixels.start < edge < pixels.stop)})
        for start, stop in itertools.pairwise(cuts):
            covering = [place for place in places if place[1] <= start and place[1] + self.size >= stop]
            total = self._total[start:stop]
            yield (
                slice(start, stop),
                [
                    Share(
                        tile=number,
                        pixels=slice(start - first, stop - first),
                        weights=(self._profile(number)[start - first : stop - first] / total).astype(np.float32),
                    )
                    for number, first in covering
                ],
            )

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """Index and first pixel of each tile; a tile that wraps is repeated before the first pixel."""
        places = list(enumerate(self.starts))
        return places + [(n, start - self.side) for n, start in places if start + self.size > self.side]

    def _profile(self, number: int) -> Float32[np.ndarray, " size"]:
        weights = np.ones(self.size)
        ramp = np.sin((np.arange(self.overlap) + 0.5) / max(1, self.overlap) * np.pi / 2) ** 2
        start = self.starts[number]
        if self.overlap and (self.wrap or start > 0):
            weights[: self.overlap] *= ramp
        if self.overlap and (self.wrap or start + self.size < self.side):
            weights[-self.overlap :] *= ramp[::-1]
        return weights.astype(np.float32)

    @cached_property
    def _total(self) -> Float32[np.ndarray, " side"]:
        total = np.zeros(self.side, np.float32)
        for number, start in self._places:
            inside = slice(max(0, start), min(self.side, start + self.size))
            total[inside] += self._profile(number)[inside.start - start : inside.stop - start]
        return total

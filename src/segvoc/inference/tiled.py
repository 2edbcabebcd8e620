"""Labeling a large image tile by tile: words are selected once per image, and logits are blended across overlaps."""

import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import device
from jaxtyping import Float32, Int, UInt8, UInt16

from segvoc.errors import InputError, UsageError
from segvoc.imaging.decoding import ArrayImage, WindowedImage
from segvoc.imaging.label_maps import UNLABELED
from segvoc.inference.encoded_image import EncodedImage, GivenImage, ReadImage
from segvoc.inference.job import LabelingJob, Outcomes, not_finite_error
from segvoc.inference.pixel_labels import WordContest, selected_classes
from segvoc.inference.protocols import Protocol
from segvoc.inference.reports import LabelStatistics
from segvoc.inference.segmentation import Segmentation
from segvoc.inference.strongest_class import Layer, PixelAxis, StrongestClass
from segvoc.inference.tile_grid import Share, TileAxis
from segvoc.inference.windows import ViewLogits
from segvoc.layers.selection import ClassSelection
from segvoc.runtime.arrays import Array, array_namespace, to_numpy

OVERVIEW, SAMPLE, MOST_SAMPLES = 1024, 8, 16
"""Class selection sees the image with its longer side downscaled to this [px], and every n-th tile, up to this many."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is the same in all tiles of an image."""

    classes: tuple[int, ...] | None = None
    """The words to refine, as indices among the queried ones, ascending; None: all."""
    offsets: tuple[float, ...] | None = None
    """Those of the words' confidence in the image (`LabelingJob.offsets`)."""


@dataclass(frozen=True, eq=False)
class LabeledCell:
    """The final labels from the corner of a tile to the corners of its neighbors; cells are yielded row by row."""

    rows: slice
    columns: slice
    labels: UInt16[np.ndarray, "h w"]
    confidence: Float32[np.ndarray, "h w"]
    """As in `Segmentation`; 0 outside the valid pixels."""


@dataclass(frozen=True, eq=False)
class LabeledRow:
    """The final labels from a row of tiles to the next."""

    rows: slice
    labels: UInt16[np.ndarray, "h W"]
    confidence: UInt8[np.ndarray, "h W"]
    """Of 8 bits: 255 is 1."""
    statistics: LabelStatistics


class TiledLabeling:
    """Labels large images with the same words and options, which have a tile; created by `Segmenter.in_tiles`."""

    def __init__(self, job: LabelingJob) -> None:
        if job.options.tiling is None:
            raise UsageError("there is no tile; give its side, for example tile=2048")
        self.job, self.tiling = job, job.options.tiling

    @property
    def words(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.job.query.words

    def look(self, image: WindowedImage) -> Scene:
        """Look at an image as a whole: select the words to refine in all tiles, and find what their confidence follows.

        A word is kept if the protocol's rule keeps it in the image downscaled to `OVERVIEW` pixels, or in any of a few
        evenly spread tiles: at most every `SAMPLE`-th, and at most `MOST_SAMPLES`. The tiles catch small things that
        the downscaled image doesn't show, at little cost. How likely labels are right depends on the whole image
        (`segvoc.inference.confidence`), so that it is the same however the image is cut. If no word can be dropped, and
        the model says nothing of confidence, the image isn't read.
        """
        number, selection = len(self.job.text), self.job.protocol.selection
        selects = selection is not None and selection.may_drop(number)
        if not selects and self.job.confidence is None:
            return Scene()
        whole = image.overview(OVERVIEW)
        (output,) = self.job.view_logits([whole])
        found = self.job.offsets(output, (whole.shape[0], whole.shape[1]))
        offsets = None if found is None else tuple(to_numpy(found).tolist())
        if not selects:
            return Scene(offsets=offsets)
        kept = set[int](to_numpy(output.kept_anywhere()).tolist())
        for pixels in self._samples(image):
            (output,) = self.job.view_logits([pixels])
            kept.update(to_numpy(output.kept_anywhere()).tolist())
        return Scene(classes=tuple(sorted(kept)) if len(kept) < number else None, offsets=offsets)

    def cells(
        self, image: WindowedImage, scene: Scene, *, first_row: int = 0, name: str = "the image"
    ) -> Generator[LabeledCell, None, None]:
        """Label an image that was looked at, from a row of tiles on, whose cells are those of a full run.

        A thread prefetches the next tile during each forward pass. Memory holds the tiles being read, the coarse logits
        of two rows of tiles, and a cell. `InputError`: the image is damaged, or the network's output isn't finite.
        """
        rows, columns = self.tiling.rows(image.height), self.tiling.columns(image.width)
        selection = None if scene.classes is None else ClassSelection(classes=scene.classes)
        protocol = replace(self.job.protocol, selection=selection)
        job = replace(self.job, protocol=protocol)
        begin = rows.first_tile(first_row)
        places = [(rows.starts[row], column) for row in range(begin, len(rows)) for column in columns.starts]
        outputs: dict[int, list[ViewLogits | None]] = {}
        batch = self.job.engine.batch
        with closing(self._read(image, places, (rows.size, columns.size))) as tiles:
            for row in range(begin, len(rows)):
                outputs[row] = [
                    output
                    for start in range(0, len(columns), batch)
                    for output in _outputs(job, [next(tiles) for _ in columns.starts[start : start + batch]], name)
                ]
                if row < first_row:
                    continue
                for old in [other for other in outputs if other < rows.first_tile(row)]:
                    del outputs[old]
                cover = _Cover(outputs, rows, columns)
                for column in range(len(columns)):
                    yield self._cell(image, cover, row, column, protocol, scene)

    def rows(
        self, image: WindowedImage, scene: Scene, *, first_row: int = 0, name: str = "the image"
    ) -> Iterator[LabeledRow]:
        """Label an image as `cells` does, a row of tiles after the other."""
        columns = len(self.tiling.columns(image.width))
        cells = self.cells(image, scene, first_row=first_row, name=name)
        while first := next(cells, None):
            labels = np.empty((first.rows.stop - first.rows.start, image.width), np.uint16)
            confidence, statistics = np.empty(labels.shape, np.uint8), LabelStatistics.none()
            for cell in itertools.chain([first], itertools.islice(cells, columns - 1)):
                labels[:, cell.columns] = cell.labels
                confidence[:, cell.columns] = np.rint(cell.confidence * 255)
                statistics += LabelStatistics.of(cell.labels, cell.confidence)
            yield LabeledRow(first.rows, labels, confidence, statistics)

    def start(self, given: Sequence[GivenImage]) -> Callable[[], Outcomes]:
        """See `LabelingJob.start`; the work is done where the results are asked for."""
        images = [image for image in given if not isinstance(image, EncodedImage)]
        if len(images) < len(given):
            raise UsageError("tiles are encoded one by one; give the image itself, or leave out the tile")

        def finish() -> Outcomes:
            for image in images:
                try:
                    yield self.segmentation(image) if isinstance(image, ReadImage) else image
                except InputError as error:
                    yield error

        return finish

    def segmentation(self, image: ReadImage) -> Segmentation:
        """Label an image in memory; raises `InputError` as `cells` does."""
        start = time.perf_counter()
        whole = ArrayImage(image.pixels)
        labels, confidence = np.empty(image.size, np.uint16), np.empty(image.size, np.float32)
        scene = self.look(whole)
        for cell in self.cells(whole, scene, name=image.name):
            labels[cell.rows, cell.columns] = cell.labels
            confidence[cell.rows, cell.columns] = cell.confidence
        result = Segmentation(
            labels=labels,
            confidence=confidence,
            selected=selected_classes(scene.classes, self.job.query),
            image=image.pixels,
            seconds=image.seconds + time.perf_counter() - start,
            source=image.source,
            content=image.content,
            **self.job.result_metadata,
        )
        return self.job.finished(result, lambda: self.job.image_views(whole.overview(OVERVIEW)))

    def _samples(self, image: WindowedImage) -> Iterable[UInt8[np.ndarray, "h w 3"]]:
        rows, columns = self.tiling.rows(image.height), self.tiling.columns(image.width)
        tiles = len(rows) * len(columns)
        samples = min(MOST_SAMPLES, tiles // SAMPLE)
        for number in range(samples):
            row, column = divmod((2 * number + 1) * tiles // (2 * samples), len(columns))
            at, size = (rows.starts[row], columns.starts[column]), (rows.size, columns.size)
            if (pixels := _tile(image, at, size)) is not None:
                yield pixels

    def _read(
        self, image: WindowedImage, places: Sequence[tuple[int, int]], size: tuple[int, int]
    ) -> Generator[UInt8[np.ndarray, "h w 3"] | None, None, None]:
        """Prefetch tiles in a thread; None for a tile without valid pixels."""
        with ThreadPoolExecutor(1, thread_name_prefix="segvoc-tiles") as reader:
            ahead = reader.submit(_tile, image, places[0], size)
            for place in places[1:]:
                pixels, ahead = ahead.result(), reader.submit(_tile, image, place, size)
                yield pixels
            yield ahead.result()

    def _cell(
        self, image: WindowedImage, cover: "_Cover", row: int, column: int, protocol: Protocol, scene: Scene
    ) -> LabeledCell:
        down, across = cover.rows.cell(row), cover.columns.cell(column)
        size = down.stop - down.start, across.stop - across.start
        valid = image.valid(down, across)
        pieces = cover.pieces(down, across)
        if not pieces or (valid is not None and not valid.any()):
            return LabeledCell(down, across, np.full(size, UNLABELED, np.uint16), np.zeros(size, np.float32))
        like, offsets = pieces[0].tiles[0][0].logits, None
        if scene.offsets is not None:
            offsets = array_namespace(like).asarray(scene.offsets, dtype=like.dtype, device=device(like))
        contest = WordContest(*size, like, self.job.query, protocol, offsets)
        for strongest, wanted in contest.rounds:
            cover.update(strongest, pieces, protocol, wanted)
        labels, confidence = contest.labels()()
        if valid is not None:
            labels[~valid], confidence[~valid] = UNLABELED, 0
        return LabeledCell(down, across, labels, confidence)


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of a cell, covered by the same tiles throughout: the output of each, and its shares along both axes."""

    rows: slice
    columns: slice
    tiles: list[tuple[ViewLogits, Share, Share]]


@dataclass(frozen=True, eq=False)
class _Cover:
    """The tiles that cover the cells of a row."""

    outputs: dict[int, list[ViewLogits | None]]
    """The network's output for each tile, by row; None for a tile without valid pixels."""
    rows: TileAxis
    columns: TileAxis

    def pieces(self, down: slice, across: slice) -> list[_Piece]:
        """Pieces of a cell, counted from its corner; those without valid pixels are left out."""
        found = []
        for rows, vertical in self.rows.shares(down):
            for columns, horizontal in self.columns.shares(across):
                tiles = [
                    (output, share_y, share_x)
                    for share_y, share_x in itertools.product(vertical, horizontal)
                    if (output := self.outputs[share_y.tile][share_x.tile]) is not None
                ]
                if tiles:
                    y = slice(rows.start - down.start, rows.stop - down.start)
                    x = slice(columns.start - across.start, columns.stop - across.start)
                    found.append(_Piece(y, x, tiles))
        return found

    def update(
        self, best: StrongestClass, pieces: Sequence[_Piece], protocol: Protocol, words: range | Int[Array, " M"]
    ) -> None:
        """Search some of the queried words in all pieces of a cell."""
        size = self.rows.size, self.columns.size
        outputs = list({id(output): output for piece in pieces for output, _, _ in piece.tiles}.values())
        streams = [output.maps(protocol, size, classes=words) for output in outputs]
        # all tiles have the same classes, so their maps are aligned
        for step in zip(*streams, strict=True):
            maps = {id(output): maps for output, (maps, _) in zip(outputs, step, strict=True)}
            first, chosen = step[0]
            axes = PixelAxis(first.shape[1], size[0], first), PixelAxis(first.shape[2], size[1], first)
            for piece in pieces:
                layers = [Layer(maps[id(output)], *axes, down, across) for output, down, across in piece.tiles]
                best.update_piece(piece.rows, piece.columns, layers, chosen)


def _outputs(
    job: LabelingJob, tiles: Sequence[UInt8[np.ndarray, "h w 3"] | None], name: str
) -> list[ViewLogits | None]:
    seen = [pixels for pixels in tiles if pixels is not None]
    outputs = job.view_logits(seen) if seen else []
    for output in outputs:
        xp = array_namespace(output.logits)
        if not bool(xp.all(xp.isfinite(output.logits))):
            raise not_finite_error(name)
    found = iter(outputs)
    return [None if pixels is None else next(found) for pixels in tiles]


def _tile(image: WindowedImage, at: tuple[int, int], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"] | None:
    """The pixels of a tile, which may wrap around to the left edge; None without valid pixels."""
    rows, stop = slice(at[0], at[0] + size[0]), at[1] + size[1]
    parts = [slice(at[1], min(stop, image.width))]
    if stop > image.width:
        parts.append(slice(0, stop - image.width))
    valid = [image.valid(rows, part) for part in parts]
    if all(one is not None and not one.any() for one in valid):
        return None
    return np.concatenate([image.read(rows, part) for part in parts], axis=1)
